package directory

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// The cost of a hash, as OWASP's cheat sheet has it for argon2id: 19 MiB, two passes, one lane. A hash names its own, so the cost can be
// raised for new ones.
const (
	hashPasses = 2
	hashLanes  = 1
	hashSize   = 32
	saltSize   = 16
)

var hashMemory uint32 = 19 << 10 // KiB; less in tests of other things

func hashSecret(secret string) string {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	sum := argon2.IDKey([]byte(secret), salt, hashPasses, hashMemory, hashLanes, hashSize)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashPasses, hashLanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// noHash is the hash of no secret: comparing with it takes as long as with any.
var noHash = sync.OnceValue(func() string { return hashSecret(NewSecret()) })

func sameSecret(secret, hash string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	var version, memory, passes uint32
	var lanes uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(sum) == 0 {
		return false
	}
	return subtle.ConstantTimeCompare(argon2.IDKey([]byte(secret), salt, passes, memory, lanes, uint32(len(sum))), sum) == 1
}

// NewSecret makes a secret of 256 random bits.
func NewSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// hashing bounds what strangers can make this process compute: so many hashes at a time, so many that wait, half of them for one client
// address, and so many wrong passwords for a user name.
type hashing struct {
	running chan struct{}

	mu      *sync.Mutex
	waiting map[netip.Prefix]int // by client, those that run among them
	wait    int                  // all together
	wrong   map[string]*attempts // by user name in lower case
}

type attempts struct {
	n    int
	last time.Time
}

const (
	maxHashing = 2
	maxWaiting = 32
	maxWrong   = 10
	lockedFor  = time.Minute
	maxNames   = 10_000 // of attempts, beyond which all are forgotten
)

func newHashing() hashing {
	return hashing{running: make(chan struct{}, maxHashing), mu: &sync.Mutex{}, waiting: map[netip.Prefix]int{}, wrong: map[string]*attempts{}}
}

// networkOf is what counts as one client: an IPv4 address, or the network that is given to one customer (RFC 6177).
func networkOf(a netip.Addr) netip.Prefix {
	if a.Is6() {
		return netip.PrefixFrom(a.WithZone(""), 64).Masked()
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// enter takes a place for a client among those that wait; leave gives it back.
func (h *hashing) enter(client netip.Prefix) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wait == maxWaiting || h.waiting[client] == maxWaiting/2 {
		return false
	}
	h.wait++
	h.waiting[client]++
	return true
}

func (h *hashing) leave(client netip.Prefix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wait--
	if h.waiting[client]--; h.waiting[client] == 0 {
		delete(h.waiting, client)
	}
}

func (h *hashing) verify(ctx context.Context, from netip.Addr, secret string, hashes []string) (right bool, err error) {
	client := networkOf(from)
	if !h.enter(client) {
		return false, ErrBusy
	}
	defer h.leave(client)
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	for _, hash := range hashes {
		right = sameSecret(secret, hash) || right
	}
	return right, nil
}

func (h *hashing) locked(login string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.wrong[strings.ToLower(login)]
	return a != nil && a.n >= maxWrong && now.Sub(a.last) < lockedFor
}

func (h *hashing) tried(login string, right bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	login = strings.ToLower(login)
	if right {
		delete(h.wrong, login)
		return
	}
	if len(h.wrong) >= maxNames {
		clear(h.wrong)
	}
	a := h.wrong[login]
	if a == nil || now.Sub(a.last) >= lockedFor {
		a = &attempts{}
		h.wrong[login] = a
	}
	a.n, a.last = a.n+1, now
}
