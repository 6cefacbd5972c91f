package server

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/rest"
)

// observer sees the end of every request.
type observer struct {
	metrics *metrics
	access  *AccessLog
	audit   *AuditLog
	log     *zap.Logger
}

func (o *observer) done(r *rest.Request) {
	took := time.Since(r.Now)
	o.metrics.done(r, took.Seconds())
	o.access.write(r, took)
	o.audit.request(r)
	if cause := r.Cause(); cause != nil {
		o.report(r, cause)
	}
}

// part sees the end of one part of a batch.
func (o *observer) part(r *rest.Request, took time.Duration) {
	o.access.write(r, took)
	o.audit.request(r)
	if cause := r.Cause(); cause != nil {
		o.report(r, cause)
	}
}

// report logs what an operator has to know: a damaged store and our own defects loudly, what is short (disks, room, descriptors) as a warning. A client that
// went away is in the access log.
func (o *observer) report(r *rest.Request, cause error) {
	fields := []zap.Field{zap.String("id", r.ID), zap.String("operation", r.Operation), zap.Int("status", r.Status()), zap.Error(cause)}
	switch {
	case errors.Is(cause, engine.ErrCorrupt):
		o.log.Error("stored data is damaged and cannot be rebuilt", append(fields, zap.String("target", target(r)))...)
	case errors.Is(cause, engine.ErrNoSpace), errors.Is(cause, engine.ErrUnavailable), errors.Is(cause, engine.ErrBusy):
		o.log.Warn("a request was turned away", fields...)
	case r.Status() == 500:
		o.log.Error("a request failed", fields...)
	}
}

func (o *observer) panicked(r *rest.Request, value any, stack []byte) {
	o.metrics.panics.Inc()
	o.log.Error("a defect broke off a request", zap.String("id", r.ID), zap.String("operation", r.Operation),
		zap.String("target", target(r)), zap.Any("panic", value), zap.ByteString("stack", stack))
}
