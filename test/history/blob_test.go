// Package history has concurrent clients use the services, and holds what they were answered to one order: a history is linearizable if
// each request can be thought to have happened at one moment between its sending and its answer. ETags are part of it: they tell which
// state a request saw or made.
package history

import (
	"context"
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
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/replay"
	"github.com/blobd/blobd/internal/rest"
)

type linInput struct {
	name, op string // put, create, replace (If-Match), get, delete, append, start
	value    string
	tag      string // If-Match
}

type linOutput struct {
	status int
	value  string
	tag    string // ETag
	offset int    // of what was appended
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

// blobs is the Blob service, without HTTP, with a container "box".
type blobs struct {
	*store.Service
	account *account.Account
}

// do asks for what in says; tags are those of a new blob.
func (b *blobs) do(in linInput, tags []protocol.Pair) (out linOutput) {
	at := store.Target{Account: b.account, Container: "box", Name: in.name, Version: protocol.Newest, Now: record.StampOf(time.Now())}
	if in.op == "create" {
		at.Cond = protocol.NewConditions("", "*", time.Time{}, time.Time{})
	} else if in.op == "replace" {
		at.Cond = protocol.NewConditions(in.tag, "", time.Time{}, time.Time{})
	}
	rec, err := b.ask(&at, in, tags, &out)
	switch {
	case err != nil:
		return linOutput{status: rest.WireError(err).Status}
	case rec != nil:
		out.tag = protocol.ETag(rec.Changed)
	}
	return out
}

func (b *blobs) ask(at *store.Target, in linInput, tags []protocol.Pair, out *linOutput) (rec *record.Blob, err error) {
	ctx := context.Background()
	upload := &store.Upload{Body: strings.NewReader(in.value), Size: int64(len(in.value))}
	made := &store.Creation{Target: *at, Blob: &record.Blob{Type: record.BlockBlob, Tags: tags}}
	switch in.op {
	case "get":
		rd, err := b.Open(ctx, &store.ReadRequest{Target: *at})
		if err != nil {
			return nil, err
		}
		content, err := rd.All()
		out.status, out.value = 200, string(content)
		return rd.Blob, err
	case "delete":
		out.status = 202
		_, err = b.Delete(ctx, &store.DeleteRequest{Target: *at})
		return nil, err
	case "append":
		out.status = 201
		rec, _, err = b.Append(ctx, &store.AppendRequest{Target: *at, Position: -1, MaxSize: -1}, upload)
		if err == nil {
			out.offset = int(rec.Size) - len(in.value)
		}
		return rec, err
	case "start":
		made.Blob.Type = record.AppendBlob
		err = b.CreateEmpty(ctx, made)
	default:
		_, err = b.Put(ctx, made, upload)
	}
	out.status = 201
	return made.Blob, err
}

func TestBlobsAreLinearizable(t *testing.T) {
	seed := replay.Seed(t)
	for _, versions := range []bool{false, true} {
		t.Run(fmt.Sprint("versions ", versions), func(t *testing.T) {
			b := &blobs{store.New(store.Options{Store: enginetest.New(t)}), &account.Account{Name: "acct"}}
			b.account.Versioning = versions
			defer b.Close()
			require.NoError(t, b.CreateContainer(context.Background(), "acct", "box", &record.Container{}))
			const clients, each = 6, 120
			began := time.Now()
			histories := make([][]porcupine.Operation, clients)
			var wg sync.WaitGroup
			for id := range clients {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, uint64(id)))
					seen := map[string]string{}
					for i := range each {
						in := linInput{name: []string{"a", "b"}[rnd.IntN(2)], value: fmt.Sprintf("<%d.%d>", id, i)}
						in.op = []string{"put", "put", "create", "replace", "replace", "get", "get", "get", "delete", "append", "append", "append", "append", "start"}[rnd.IntN(14)]
						switch in.op {
						case "start":
							in.value = ""
						case "replace":
							if in.tag = seen[in.name]; in.tag == "" {
								in.tag = `"0x1"`
							}
						}
						if in.op != "append" && rnd.IntN(3) == 0 {
							in.value = strings.Repeat(in.value, 4000) // more than fits inline
						}
						var tags []protocol.Pair
						if (in.op == "put" || in.op == "start") && rnd.IntN(2) == 0 {
							tags = []protocol.Pair{{Name: "k", Value: strconv.Itoa(id)}}
						}
						call := time.Since(began)
						out := b.do(in, tags)
						histories[id] = append(histories[id], porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(began))})
						if out.tag != "" {
							seen[in.name] = out.tag
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
