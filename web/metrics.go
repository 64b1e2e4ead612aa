package web

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec // by class of status, "2xx"
	panics   prometheus.Counter
}

func newMetrics(reg *prometheus.Registry, s *Server) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "confab_http_requests_total", Help: "Requests answered on the public listener.",
		}, []string{"status"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "confab_panics_total", Help: "Panics recovered.", ConstLabels: prometheus.Labels{"component": "web"},
		}),
	}
	err := errors.Join(reg.Register(m.requests), reg.Register(m.panics),
		reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "confab_http_connections", Help: "Open connections of the public listeners.",
		}, func() float64 { return float64(s.conns.open()) })))
	if s.certs != nil {
		err = errors.Join(err, reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "confab_certificate_not_after_seconds", Help: "When the certificate runs out, Unix time.",
		}, func() float64 { return float64(s.certs.Leaf().NotAfter.Unix()) })))
	}
	return m, err
}

func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}
