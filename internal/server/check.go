package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/blobd/blobd/internal/blob/check"
	blobstore "github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/table"
	"github.com/blobd/blobd/internal/usage"
)

// check holds the store against itself and answers with a report; with ?deep=true all content is read. One runs at a time.
func (g *management) check(w http.ResponseWriter, req *http.Request) {
	deep := false
	if text := req.URL.Query().Get("deep"); text != "" {
		var err error
		if deep, err = strconv.ParseBool(text); err != nil {
			http.Error(w, "deep: true or false", http.StatusBadRequest)
			return
		}
	}
	loaded := g.store.Load()
	if loaded == nil {
		http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
		return
	}
	store, ok := (*loaded).(check.Store)
	if !ok {
		http.Error(w, "this store cannot be checked", http.StatusNotFound)
		return
	}
	if !g.checking.TryLock() {
		http.Error(w, "a check is under way", http.StatusConflict)
		return
	}
	defer g.checking.Unlock()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // without it a long one has no answer
	rep, err := check.Check(req.Context(), store, check.Options{Deep: deep, Usage: []usage.Source{blobstore.CountUse, table.CountUse}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer(w, http.StatusOK, rep)
}
