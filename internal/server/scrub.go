package server

import (
	"net/http"
	"time"

	"github.com/blobd/blobd/internal/engine"
)

// Scrub is the answer of /scrub, and a part of that of /healthz: how far the store has read itself.
type Scrub struct {
	State    string     `json:"state"`
	Rate     int64      `json:"bytesPerSecond"`
	Pass     uint64     `json:"pass"`
	Started  *time.Time `json:"started,omitempty"`
	Finished *time.Time `json:"lastFinished,omitempty"`
	Read     int64      `json:"readBytes"`
	Total    int64      `json:"totalBytes"`
	Found    int64      `json:"found"`
	Healed   int64      `json:"healed"`
	Lost     int64      `json:"lost"`

	DamagedAll int      `json:"damagedForGood"`
	Damaged    []Damage `json:"damaged,omitempty"`
}

// Damage is something that nothing is left to rebuild from.
type Damage struct {
	What  string   `json:"what"`
	Names []string `json:"names,omitempty"`
}

func scrubOf(h engine.Scrub) *Scrub {
	if h.State == "" {
		return nil
	}
	s := &Scrub{State: h.State, Rate: h.Rate, Pass: h.Pass, Started: instant(h.Started), Finished: instant(h.Finished), Read: h.Read, Total: h.Total,
		Found: h.Found, Healed: h.Healed, Lost: h.Lost, DamagedAll: h.DamagedAll}
	for _, d := range h.Damaged {
		s.Damaged = append(s.Damaged, Damage(d))
	}
	return s
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// scrub tells how far the store has read itself.
func (g *management) scrub(w http.ResponseWriter, _ *http.Request) {
	store := g.store.Load()
	if store == nil {
		http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
		return
	}
	s := scrubOf((*store).Health().Scrub)
	if s == nil {
		http.Error(w, "this store does not scrub", http.StatusNotFound)
		return
	}
	answer(w, http.StatusOK, s)
}

// steerScrub starts or pauses the scrub, as ?do= says, and answers as scrub does.
func (g *management) steerScrub(w http.ResponseWriter, req *http.Request) {
	store := g.store.Load()
	if store == nil {
		http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
		return
	}
	scrubber, ok := (*store).(engine.Scrubber)
	if !ok {
		http.Error(w, "this store does not scrub", http.StatusNotFound)
		return
	}
	var err error
	switch do := req.URL.Query().Get("do"); do {
	case "start":
		err = scrubber.StartScrub()
	case "pause":
		err = scrubber.PauseScrub()
	default:
		http.Error(w, "say what to do: ?do=start or ?do=pause", http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	g.scrub(w, req)
}
