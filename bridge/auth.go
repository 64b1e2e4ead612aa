package bridge

import "crypto/subtle"

// authenticate finds the endpoint that a channel URL names. The comparison takes
// the same time for a wrong password as for the right one.
func (s *Service) authenticate(key, id, password string) *endpoint {
	s.mu.Lock()
	c := s.byKey[key]
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	c.passwords.Lock()
	ep := c.passwords.by[id]
	c.passwords.Unlock()
	if ep == nil || subtle.ConstantTimeCompare([]byte(ep.password), []byte(password)) != 1 {
		return nil
	}
	return ep
}
