package xmpp

import (
	"errors"
	"time"
)

// keepBuffer is the largest encoding buffer that a writer keeps between batches.
const keepBuffer = 64 << 10

// startWriter starts the goroutine that writes the session's queue to st.
func (st *stream) startWriter(s *Session, t *outToken) {
	st.writing.Go(func() {
		defer st.srv.recovered(st.fr.kill)
		if err := st.write(s, t); err != nil {
			st.fr.kill() // the reader notices and detaches
		}
	})
}

// write drains the queue until it is closed or given to another connection. In
// steady state it allocates nothing.
func (st *stream) write(s *Session, t *outToken) error {
	var buf []byte
	batch := make([]outItem, 0, maxBatch+1)
	namespaced := st.fr.namespaced()
	var stalled *time.Timer // runs while the client owes an acknowledgement
	defer func() {
		if stalled != nil {
			stalled.Stop()
		}
	}()
	for {
		clear(batch)
		var err error
		batch, err = s.q.take(t, batch[:0])
		switch {
		case errors.Is(err, errReplaced):
			// XEP-0198 §5: the old stream ends with a conflict. It must not try to
			// resume in turn.
			st.fr.finish(&StreamError{Cond: "conflict", Text: "Resumed elsewhere"})
			return nil
		case errors.Is(err, errDetached):
			return nil
		case errors.Is(err, errUnacked):
			if stalled == nil {
				stalled = time.AfterFunc(st.srv.cfg.WriteTimeout, func() { s.unacknowledged(st) })
			}
			<-t.ready
			continue
		case len(batch) == 0:
			<-t.ready
			continue
		}
		if stalled != nil {
			stalled.Stop()
			stalled = nil
		}
		stanzas := uint64(0)
		for _, it := range batch {
			switch {
			case it.mark == markEnd:
				st.fr.finish(it.err)
				return nil
			case it.s != nil:
				stanzas++
				buf = it.s.Append(buf[:0], s.jid, namespaced)
			default:
				buf = append(buf[:0], it.raw...)
			}
			if err := st.fr.put(buf); err != nil {
				return err
			}
		}
		if err := st.fr.flush(); err != nil {
			return err
		}
		st.srv.stats.out.Add(stanzas)
		if cap(buf) > keepBuffer {
			buf = nil
		}
	}
}

// unacknowledged ends a session whose client reads and never acknowledges; it
// can't be resumed.
func (s *Session) unacknowledged(st *stream) {
	defer s.srv.recovered(st.fr.kill) // of a timer
	s.endedBy(st, &StreamError{Cond: "resource-constraint", Text: "Too many unacknowledged stanzas"})
}
