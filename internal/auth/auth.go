// Package auth decides who asks and whether they may. There is one decision point, Authorizer.Authorize; it is fed by the row
// of the operation table, so no operation can forget to ask. The schemes live in sharedkey, sas and bearer.
package auth

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/protocol"
)

// Authorizer is the one decision point. Authorize identifies the caller and compares what it was granted with what the
// operation needs; a refusal is a *protocol.Error as Azure words it. It is safe for concurrent use.
type Authorizer interface {
	Authorize(ctx context.Context, acct *account.Account, r *Request, needs *Needs) (Grant, error)
}

// Service is one of the storage services, by the letter that an account SAS uses for it.
type Service byte

// The services that blobd has.
const (
	Blob  Service = 'b'
	Table Service = 't'
)

func (s Service) String() string {
	if s == Table {
		return "table"
	}
	return "blob"
}

// Fields gives access to the headers or the query of a request. Get ignores the case of name and returns the first value.
// All visits every one in the order sent, names as sent, query values percent-decoded.
type Fields interface {
	Get(name string) (value string, ok bool)
	All(visit func(name, value string))
}

// Request is what a decision is made from. The strings live only as long as the request.
type Request struct {
	Service Service
	Method  string
	// Account is the addressed account without "-secondary"; Secondary tells that it was there.
	Account   string
	Secondary bool
	// PathStyle tells that the account is the first part of the path, and not of the host name.
	PathStyle bool
	// RawPath is the path exactly as in the request line, without the query.
	RawPath string
	Headers Fields
	Query   Fields
	// ContentLength is -1 if the header is absent.
	ContentLength int64
	Version       protocol.Version
	Client        netip.Addr
	HTTPS         bool
	// TLS is the connection's version of TLS; it is known where the account asks for one.
	TLS uint16
	Now time.Time

	// What is addressed: container and blob (with snapshot or version), or table.
	Container string
	Blob      string
	Table     string
}

// Needs is what an operation asks of its caller, by every way in. In a letter expression "w|c"
// means that either suffices, "a&u" that both are needed, "*" that any SAS will do and "" that none ever does.
type Needs struct {
	// SAS is needed of a service or user delegation SAS.
	SAS string
	// AccountSAS is needed of an account SAS, for the resource types in ResourceTypes (any one of "sco").
	AccountSAS    string
	ResourceTypes string
	// Role is needed of a bearer token, and of the identity behind a user delegation SAS.
	Role Action
	// Public is the least container access level that lets anybody in.
	Public PublicAccess
	// Prefix tells that an operation on a container reaches only what the query parameter prefix begins; others are not for the SAS
	// of a directory.
	Prefix bool
	// BearerOnly refuses every other scheme (Get User Delegation Key).
	BearerOnly bool
	// Open lets everybody in (CORS preflight).
	Open bool
}

// Action is what the built-in storage roles let their holders do.
type Action byte

// The actions.
const (
	ActionNone    Action = iota
	ActionRead           // Reader, Contributor, Owner
	ActionWrite          // Contributor, Owner
	ActionDelete         // Contributor, Owner
	ActionTags           // Owner
	ActionOwn            // Owner: immutability
	ActionACL            // Owner, Account Contributor: access and stored policies of a container or table
	ActionKey            // all blob roles, Delegator and Account Contributor: generate a user delegation key
	ActionService        // Account Contributor, all blob roles but Delegator: read service properties and statistics
	ActionManage         // Account Contributor: write service properties
	ActionBatch          // all table roles, whatever table they are on: submit a transaction, whose operations ask for themselves
)

// PublicAccess is a container's level of anonymous access; a higher level includes the lower.
type PublicAccess byte

// The levels. An operation that needs PublicNever is never anonymous.
const (
	PublicNever     PublicAccess = iota
	PublicContainer              // needs a container with level "container"
	PublicBlob                   // needs "blob" or "container"
)

// Scheme is how the caller was let in.
type Scheme byte

// The schemes.
const (
	Anonymous Scheme = iota
	SharedKey
	AccountSAS
	ServiceSAS
	UserDelegationSAS
	Bearer
)

// Grant is the outcome of a decision in favour of the caller: what a handler may still have to look at. Its strings live only as
// long as the request.
type Grant struct {
	Scheme Scheme
	// Letters holds the SAS permissions; the other schemes that let the operation in have every letter.
	Letters Letters
	// ResourceTypes holds srt of an account SAS.
	ResourceTypes Letters
	// Table is the one table that a table SAS opens, empty for no bound.
	Table string
	// Keys bounds a table SAS; nil for no bound.
	Keys *KeyRange
	// Override holds rscc, rscd, rsce, rscl and rsct of a SAS; nil for none.
	Override *Override
	// EncryptionScope is ses of a SAS.
	EncryptionScope string
	// Principal names the caller for the log: the account, or the object id of a token.
	Principal string
	// Tenant is the tid of a token, Groups and AppRoles are its groups and roles.
	Tenant           string
	Groups, AppRoles []string
	// Roles decides further actions of a bearer or user delegation caller, nil for other schemes.
	Roles func(a Action, container string) bool
}

// Permits decides on a further operation of the same caller, such as one within a transaction. name is the container or table
// that it works on. The error is a refusal as Azure words it.
func (g *Grant) Permits(needs *Needs, name string) error {
	switch g.Scheme {
	case SharedKey:
		return nil
	case AccountSAS:
		if needs.AccountSAS == "" {
			return protocol.ErrAuthorizationFailure
		}
		types, _ := ParseLetters(needs.ResourceTypes)
		if g.ResourceTypes&types == 0 && types != 0 {
			return protocol.ErrAuthorizationResourceTypeMismatch
		}
		if !g.Letters.Satisfy(needs.AccountSAS) {
			return protocol.ErrAuthorizationPermissionMismatch
		}
		return nil
	case ServiceSAS, UserDelegationSAS:
		if needs.SAS == "" || g.Table != "" && needs.SAS != "*" && !strings.EqualFold(name, g.Table) {
			return protocol.ErrAuthorizationFailure
		}
		if !g.Letters.Satisfy(needs.SAS) {
			return protocol.ErrAuthorizationPermissionMismatch
		}
		if g.Scheme == UserDelegationSAS && g.Roles != nil && !g.Roles(needs.Role, name) {
			return protocol.ErrAuthorizationPermissionMismatch
		}
		return nil
	case Bearer:
		if g.Roles == nil || !g.Roles(needs.Role, name) {
			return protocol.ErrAuthorizationPermissionMismatch
		}
		return nil
	}
	return protocol.ErrResourceNotFound // anonymous: only what was asked for
}

// Letters is a set of SAS permission letters.
type Letters uint32

// AllLetters has every permission.
const AllLetters Letters = 1<<26 - 1

// ParseLetters reads letters a-z; ok is false for another character or a repeated one.
func ParseLetters(s string) (set Letters, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] < 'a' || s[i] > 'z' || set.Has(s[i]) {
			return 0, false
		}
		set |= 1 << (s[i] - 'a')
	}
	return set, true
}

// Has reports whether the letter is in the set.
func (l Letters) Has(letter byte) bool { return l&(1<<(letter-'a')) != 0 }

// KeyRange is the part of a table that a SAS opens: (StartPK, StartRK) <= (pk, rk) <= (EndPK, EndRK), an absent bound being open.
type KeyRange struct {
	StartPK, StartRK, EndPK, EndRK             string
	HasStartPK, HasStartRK, HasEndPK, HasEndRK bool
}

// Override holds the response headers that a SAS replaces; an empty one is not replaced.
type Override struct {
	CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, ContentType string
}

// Resources is what a decision has to know of the addressed container or table; each service implements it.
type Resources interface {
	// Access returns the public access level and stored access policies of a container (Blob) or table (Table). A missing
	// one is ContainerNotFound or TableNotFound as a *protocol.Error.
	Access(ctx context.Context, account, name string) (Access, error)
}

// Access is who may use a container or table besides the account's own keys.
type Access struct {
	Public   PublicAccess // PublicNever means private
	Policies []Policy
}

// Policy is a stored access policy (SignedIdentifier). Absent times are empty.
type Policy struct {
	ID            string
	Start, Expiry string // as stored: ISO 8601
	Permission    string
	HasPermission bool
}

// Failed is AuthenticationFailed with the detail that tells its reason.
func Failed(detail string) *protocol.Error {
	return protocol.ErrAuthenticationFailed.With("AuthenticationErrorDetail", detail)
}

// Satisfy reports whether the letters fulfil a letter expression of Needs: "w|c", "a&u", "*", and "" that nothing fulfils.
func (l Letters) Satisfy(expression string) bool {
	if expression == "" {
		return false
	}
	if expression == "*" {
		return true
	}
	all := true
	for i := 0; i < len(expression); i++ {
		switch c := expression[i]; {
		case c == '|':
			if all {
				return true
			}
			all = true
		case c >= 'a' && c <= 'z':
			all = all && l.Has(c)
		case c != '&':
			return false
		}
	}
	return all
}
