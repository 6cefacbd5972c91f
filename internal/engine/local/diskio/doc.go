// Package diskio stands between the store and its disks: it tells which failures of file operations are a disk's fault.
package diskio
