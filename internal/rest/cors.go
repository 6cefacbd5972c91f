package rest

import (
	"net/http"

	"github.com/blobd/blobd/internal/protocol"
)

// corsRules are those of the addressed account's service.
func (r *Request) corsRules() []protocol.CORSRule {
	if r.Account == nil {
		return nil
	}
	if p := r.Account.Properties(byte(r.Service)); p != nil {
		return p.CORS
	}
	return nil
}

// preflight answers OPTIONS, for which nobody needs to be let in (REST page "Preflight Blob Request").
func (r *Request) preflight() error {
	r.Operation = "Preflight"
	answer, err := protocol.Preflight(r.corsRules(), r.Header("origin"), r.Header("access-control-request-method"), r.Header("access-control-request-headers"))
	if err != nil {
		return err
	}
	for _, h := range answer {
		r.SetHeader(h.Name, h.Value)
	}
	r.Reply(http.StatusOK)
	return nil
}

// cors adds to an answer, also to a refusal, what lets a page of another origin read it.
func (r *Request) cors() {
	rules := r.corsRules()
	if len(rules) == 0 || r.Method == http.MethodOptions {
		return
	}
	for _, h := range protocol.ActualCORS(rules, r.Header("origin"), r.Method, r.answerHeaders) {
		r.SetHeader(h.Name, h.Value)
	}
}

// answerHeaders visits the names of the answer's headers, with those that the library adds when it is sent.
func (r *Request) answerHeaders(visit func(name string)) {
	r.ReplyHeaders(visit)
	for _, name := range [...]string{"Content-Length", "Date", "Server"} {
		visit(name)
	}
}
