package bearer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keySet is the issuer's keys. They are fetched when first needed, again when they are old, and when a token names a key that
// is not there: but not more often than minRefresh, so that tokens with invented keys cannot make this server a hammer.
type keySet struct {
	issuer, metadata string
	client           *http.Client
	now              func() time.Time

	// generation counts the key sets that differ from the one before.
	generation atomic.Uint64
	current    atomic.Pointer[fetched]

	mu      sync.Mutex // held while fetching: others wait for the result
	attempt time.Time  // when it was last tried
}

type fetched struct {
	keys             jose.JSONWebKeySet
	text             string
	authorizationURI string
	at               time.Time
}

var errTooSoon = errors.New("the issuer's keys could not be fetched a moment ago")

const (
	minRefresh = 10 * time.Second
	maxAge     = time.Hour
	maxFetched = 1 << 20 // bytes of a document of the issuer
)

func newKeySet(c *Config) *keySet {
	return &keySet{issuer: c.Issuer, metadata: c.Metadata, client: c.Client, now: c.Now}
}

// find returns the key that a token names, if it may be used with the token's algorithm.
func (s *keySet) find(ctx context.Context, kid, algorithm string) (*jose.JSONWebKey, uint64, error) {
	if kid == "" {
		return nil, 0, errNoKey
	}
	f := s.current.Load()
	if f == nil || s.now().Sub(f.at) > maxAge || len(f.keys.Key(kid)) == 0 {
		if err := s.refresh(ctx, f); err != nil && f == nil {
			return nil, 0, err
		}
		f = s.current.Load()
	}
	if f == nil {
		return nil, 0, errNoKey
	}
	generation := s.generation.Load()
	for _, k := range f.keys.Key(kid) {
		if k.IsPublic() && k.Valid() && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || k.Algorithm == algorithm) {
			return &k, generation, nil
		}
	}
	return nil, 0, errNoKey
}

// refresh fetches the keys unless somebody else has done so since seen, or it was tried a moment ago.
func (s *keySet) refresh(ctx context.Context, seen *fetched) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() != seen {
		return nil
	}
	now := s.now()
	if !s.attempt.IsZero() && now.Sub(s.attempt) < minRefresh {
		return errTooSoon
	}
	s.attempt = now
	f, err := s.fetch(ctx)
	if err != nil {
		return fmt.Errorf("fetch the keys of %s: %w", s.issuer, err)
	}
	f.at = now
	if seen == nil || seen.text != f.text {
		s.generation.Add(1)
	}
	s.current.Store(f)
	return nil
}

func (s *keySet) fetch(ctx context.Context) (*fetched, error) {
	var metadata struct {
		Issuer        string `json:"issuer"`
		Keys          string `json:"jwks_uri"`
		Authorization string `json:"authorization_endpoint"`
	}
	text, err := s.get(ctx, s.metadata)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &metadata); err != nil {
		return nil, fmt.Errorf("discovery document: %w", err)
	}
	if metadata.Issuer != s.issuer {
		return nil, fmt.Errorf("the discovery document is of another issuer, %q", metadata.Issuer)
	}
	f := &fetched{authorizationURI: metadata.Authorization}
	if text, err = s.get(ctx, metadata.Keys); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &f.keys); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	f.text = string(text)
	return f, nil
}

func (s *keySet) get(ctx context.Context, url string) ([]byte, error) {
	// The result is for everybody, so one caller's departure does not end it; the client has a timeout.
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxFetched+1))
	if err == nil && len(text) > maxFetched {
		err = errors.New("the document is too long")
	}
	return text, err
}

// authorizationURI is what discovery says, empty if it cannot be had. It does not wait for a fetch that is under way.
func (s *keySet) authorizationURI(ctx context.Context) string {
	if s.current.Load() == nil && s.mu.TryLock() {
		s.mu.Unlock()
		_ = s.refresh(ctx, nil)
	}
	if f := s.current.Load(); f != nil {
		return f.authorizationURI
	}
	return ""
}
