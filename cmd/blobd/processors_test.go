package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree is a root folder with the given files.
func tree(t *testing.T, files map[string]string) string {
	root := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	return root
}

func TestProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	free := t.TempDir()
	t.Setenv("GOMAXPROCS", "1")
	giveProcessors(free)
	require.Equal(t, 1, runtime.GOMAXPROCS(0), "the operator has set it")
	t.Setenv("GOMAXPROCS", "")
	giveProcessors(tree(t, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}))
	require.Equal(t, 1, runtime.GOMAXPROCS(0), "the container has a limit")
	giveProcessors(free)
	require.Equal(t, leastProcessors, runtime.GOMAXPROCS(0))
	runtime.GOMAXPROCS(leastProcessors + 1)
	giveProcessors(free)
	require.Equal(t, leastProcessors+1, runtime.GOMAXPROCS(0))
}

func TestALimitOfAControlGroupIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"none":                         {nil, false},
		"v2, no limit":                 {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, false},
		"v2":                           {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, true},
		"v2, around it":                {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, true},
		"v2, a container's own mount":  {map[string]string{"proc/self/cgroup": "0::/docker/x\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, true},
		"v1":                           {map[string]string{"proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/a\n", "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000\n"}, true},
		"v1, no limit":                 {map[string]string{"proc/self/cgroup": "4:cpu,cpuacct:/a\n3:cpuset:/b\n", "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/b/cpu.cfs_quota_us": "1\n"}, false},
		"v1, a limit of another group": {map[string]string{"proc/self/cgroup": "3:cpuset:/b\n", "sys/fs/cgroup/cpu/b/cpu.cfs_quota_us": "1\n"}, false},
	} {
		require.Equal(t, c.want, cpuLimited(tree(t, c.files)), name)
	}
}
