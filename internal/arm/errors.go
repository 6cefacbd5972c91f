package arm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Error is a refusal in the resource manager's words.
type Error struct {
	Status        int
	Code, Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func errorf(status int, code, format string, args ...any) *Error {
	return &Error{status, code, fmt.Sprintf(format, args...)}
}

var internalError = &Error{http.StatusInternalServerError, "InternalServerError", "The server has encountered an internal error. Please retry the request."}

// translate words what the floors below have refused. Errors of the services surface with their own codes.
func (c *call) translate(err error) *Error {
	var p *protocol.Error
	switch {
	case errors.As(err, &p):
		return &Error{p.Status, p.Code, p.Message}
	case errors.Is(err, account.ErrMissing) && c.group != nil:
		var e *Error
		errors.As(c.noAccount(), &e)
		return e
	case errors.Is(err, account.ErrDeleting):
		return operationUnderWay
	case errors.Is(err, engine.ErrNoSpace):
		return &Error{http.StatusInsufficientStorage, "InsufficientStorage", "There is no room left on the disks of the storage system."}
	case errors.Is(err, engine.ErrUnavailable), errors.Is(err, engine.ErrBusy), errors.Is(err, engine.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{http.StatusServiceUnavailable, "ServerBusy", "The server is busy. Please retry the request."}
	}
	return internalError
}

var operationUnderWay = &Error{http.StatusConflict, "StorageAccountOperationInProgress",
	"An operation is currently performing on this storage account that requires exclusive access. Please try again later."}

func writeError(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("x-ms-failure-cause", "gateway")
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(object{"error": object{"code": e.Code, "message": e.Message}}) // a failure is the client's
}

// invalidProperty refuses a value that Azure has and this server has not, or that nobody has.
func invalidProperty(name string, value any) *Error {
	text, _ := json.Marshal(value)
	if most := 256; len(text) > most {
		text = append(bytes.ToValidUTF8(text[:most], nil), "…"...)
	}
	return errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The value '%s' is not allowed for property %s.", text, name)
}

// unsupported refuses a feature.
func unsupported(what string) *Error {
	return errorf(http.StatusConflict, "FeatureNotSupportedForAccount", "%s is not supported for the account.", what)
}
