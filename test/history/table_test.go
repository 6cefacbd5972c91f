package history

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/replay"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

const modelRows = 4

// step is one operation on a partition of modelRows entities: a transaction that does the same to some of them, or a query.
type step struct {
	op    string // insert, upsert, replace, delete, query
	rows  []int
	value int32
}

// outcome is the index of the change that failed, -1 for none, or what a query saw; 0 is no entity.
type outcome struct {
	failed int
	saw    [modelRows]int32
}

// partitionModel is what transactions and queries mean.
var partitionModel = porcupine.Model{
	Init: func() any { return [modelRows]int32{} },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.([modelRows]int32), input.(step), output.(outcome)
		if in.op == "query" {
			return now == out.saw, now
		}
		next := now
		for i, r := range in.rows {
			if in.op == "insert" && now[r] != 0 || (in.op == "delete" || in.op == "replace") && now[r] == 0 {
				return out.failed == i, now
			}
			next[r] = in.value
			if in.op == "delete" {
				next[r] = 0
			}
		}
		return out.failed == -1, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// failedAt finds in the answer to a transaction which of its operations failed; of one operation it tells no place.
var failedAt = regexp.MustCompile(`"value":"(\d+):`)

// do takes a step on a connection.
func (in step) do(conn *resttest.Conn) (out outcome, err error) {
	const people, plain = "/acct/people", "Accept: application/json;odata=nometadata"
	if in.op == "query" {
		r := conn.Do("GET", people+"()?$filter=PartitionKey%20eq%20'p'", "", plain)
		var page struct {
			Value []struct {
				RowKey string
				V      int32
			}
		}
		err = json.Unmarshal(r.Body, &page)
		for _, e := range page.Value {
			out.saw[e.RowKey[0]-'0'] = e.V
		}
		return out, err
	}
	var b strings.Builder
	b.WriteString("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n")
	for _, row := range in.rows {
		entity := fmt.Sprintf("http://127.0.0.1%s(PartitionKey='p',RowKey='%d')", people, row)
		body := fmt.Sprintf(`{"PartitionKey":"p","RowKey":"%d","V":%d}`, row, in.value)
		line, header := "PUT "+entity, ""
		switch in.op {
		case "insert":
			line = "POST http://127.0.0.1" + people
		case "replace":
			header = "If-Match: *\r\n"
		case "delete":
			line, header, body = "DELETE "+entity, "If-Match: *\r\n", ""
		}
		b.WriteString("--c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
			line + " HTTP/1.1\r\nContent-Type: application/json\r\nPrefer: return-no-content\r\n" + header + "\r\n" + body + "\r\n")
	}
	b.WriteString("--c--\r\n--b--\r\n")
	r := conn.Do("POST", "/acct/$batch", b.String(), "Content-Type: multipart/mixed; boundary=b", plain)
	if r.Status != 202 {
		return out, fmt.Errorf("%+v: %s", in, r)
	}
	out.failed = -1
	if m := failedAt.FindSubmatch(r.Body); m != nil {
		out.failed, err = strconv.Atoi(string(m[1]))
	} else if strings.Contains(string(r.Body), "odata.error") {
		out.failed = 0
	}
	return out, err
}

func TestTransactionsAreLinearizable(t *testing.T) {
	const clients, steps = 8, 60
	seed := replay.Seed(t)
	svc := table.New(table.Options{Store: enginetest.New(t)})
	defer svc.Close()
	svc.Authorize(resttest.AllowAll{})
	server := resttest.Start(t, &rest.Front{Table: svc})
	require.NoError(t, svc.CreateTable(context.Background(), "acct", "people"))
	start := time.Now()
	histories := make([][]porcupine.Operation, clients)
	var wg sync.WaitGroup
	for c := range clients {
		g, conn := rand.New(rand.NewPCG(seed, uint64(c))), server.Dial()
		wg.Go(func() {
			for i := range steps {
				in := step{op: []string{"insert", "upsert", "replace", "delete", "query", "query"}[g.IntN(6)], value: int32(1 + c*steps + i)}
				in.rows = g.Perm(modelRows)[:1+g.IntN(modelRows)]
				call := time.Since(start)
				out, err := in.do(conn)
				if err != nil {
					t.Error(err)
					return
				}
				histories[c] = append(histories[c], porcupine.Operation{ClientId: c, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(start))})
			}
		})
	}
	wg.Wait()
	all := slices.Concat(histories...)
	failed := 0
	for _, op := range all {
		if op.Input.(step).op != "query" && op.Output.(outcome).failed >= 0 {
			failed++
		}
	}
	require.NotZero(t, failed, "no transaction failed")
	require.True(t, porcupine.CheckOperations(partitionModel, all), "the history is not linearizable")
}

func TestModelRefusesLostWrites(t *testing.T) {
	one := step{op: "insert", rows: []int{0, 1}, value: 7}
	history := func(saw [modelRows]int32) []porcupine.Operation {
		return []porcupine.Operation{{ClientId: 0, Input: one, Call: 0, Output: outcome{failed: -1}, Return: 1}, {ClientId: 1, Input: step{op: "query"}, Call: 2, Output: outcome{saw: saw}, Return: 3}}
	}
	require.True(t, porcupine.CheckOperations(partitionModel, history([modelRows]int32{7, 7})))
	require.False(t, porcupine.CheckOperations(partitionModel, history([modelRows]int32{})), "lost")
	require.False(t, porcupine.CheckOperations(partitionModel, history([modelRows]int32{7})), "half")
}
