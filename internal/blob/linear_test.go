package blob

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/replay"
)

// A history of concurrent requests is linearizable if each can be thought to have happened at one moment between its sending and
// its answer. ETags of answers are part of it: they tell which state a request saw or made.

type linInput struct {
	name, op string // put, create, replace (If-Match), get, delete, append, tag
	value    string
	tag      string // If-Match
}

type linOutput struct {
	status int
	value  string
	tag    string // ETag
	offset int
}

type linState struct {
	there      bool
	append     bool
	value, tag string
}

var linModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(linInput).name
			by[name] = append(by[name], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return linState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(linState), input.(linInput), output.(linOutput)
		switch in.op {
		case "get":
			if !s.there {
				return out.status == 404, s
			}
			return out.status == 200 && out.value == s.value && out.tag == s.tag, s
		case "delete":
			if !s.there {
				return out.status == 404, s
			}
			return out.status == 202, linState{}
		case "append":
			switch {
			case !s.there:
				return out.status == 404, s
			case !s.append:
				return out.status == 409, s
			}
			return out.status == 201 && out.offset == len(s.value), linState{true, true, s.value + in.value, out.tag}
		case "create":
			if s.there {
				return out.status == 409, s
			}
		case "replace":
			if !s.there || s.tag != in.tag {
				return out.status == 412, s
			}
		}
		if s.there && s.append != (in.op == "start") { // a blob keeps its type
			return out.status == 409, s
		}
		return out.status == 201, linState{true, in.op == "start", in.value, out.tag}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

func TestLinearizable(t *testing.T) {
	seed := replay.Seed(t)
	for _, c := range []struct {
		name   string
		option option
	}{{"plain", func(*house, *account.Account) {}}, {"versions", versioned}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, c.option)
			h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
			const clients, each = 6, 120
			began := time.Now()
			histories := make([][]porcupine.Operation, clients)
			var wg sync.WaitGroup
			for id := range clients {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, uint64(id)))
					conn := h.Dial()
					seen := map[string]string{}
					for i := range each {
						in := linInput{name: []string{"a", "b"}[rnd.IntN(2)], value: fmt.Sprintf("<%d.%d>", id, i)}
						in.op = []string{"put", "put", "create", "replace", "replace", "get", "get", "get", "delete", "append", "append", "append", "append", "start"}[rnd.IntN(14)]
						method, query, body, header := "PUT", "", in.value, []string{v}
						switch in.op {
						case "get":
							method, body = "GET", ""
						case "delete":
							method, body = "DELETE", ""
						case "append":
							query = "?comp=appendblock"
						case "start":
							in.value, body = "", ""
							header = append(header, isAppend)
						case "create":
							header = append(header, isBlock, "If-None-Match: *")
						case "replace":
							if in.tag = seen[in.name]; in.tag == "" {
								in.tag = `"0x1"`
							}
							header = append(header, isBlock, "If-Match: "+in.tag)
						default:
							header = append(header, isBlock)
						}
						if in.op != "append" && in.op != "get" && in.op != "delete" && rnd.IntN(3) == 0 && body != "" {
							in.value = strings.Repeat(in.value, 4000) // more than fits inline
							body = in.value
						}
						if (in.op == "put" || in.op == "start") && rnd.IntN(2) == 0 {
							header = append(header, "x-ms-tags: k="+strconv.Itoa(id))
						}
						call := time.Since(began)
						r := conn.Do(method, "/acct/box/"+in.name+query, body, header...)
						out := linOutput{status: r.Status, tag: r.Header.Get("ETag")}
						if in.op == "get" && r.Status == 200 {
							out.value = string(r.Body)
						}
						out.offset, _ = strconv.Atoi(r.Header.Get("x-ms-blob-append-offset"))
						histories[id] = append(histories[id], porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(began))})
						if out.tag != "" {
							seen[in.name] = out.tag
						}
						if r.Status >= 300 && body != "" {
							conn = h.Dial()
						}
					}
				})
			}
			wg.Wait()
			var history []porcupine.Operation
			done := map[int]int{}
			for _, part := range histories {
				history = append(history, part...)
				for _, op := range part {
					done[op.Output.(linOutput).status]++
				}
			}
			for _, status := range []int{200, 201, 202, 404, 409, 412} {
				require.NotZero(t, done[status], "no answer of status %d: %v", status, done)
			}
			require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(linModel, history, time.Minute))
		})
	}
}
