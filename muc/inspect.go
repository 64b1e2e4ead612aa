package muc

import (
	"strconv"
	"time"
)

// What the HTTP interface shows of rooms.

// Subject is the room's subject, or "".
func (r *Room) Subject() string { return r.subject.text }

// Created is when a second occupant was in; zero before.
func (r *Room) Created() time.Time {
	ms, err := strconv.ParseInt(r.conf.created, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Text is the text of a child of the occupant's last presence, or "".
func (o *Occupant) Text(ns, name string) string {
	if o.pres == nil {
		return ""
	}
	if el := o.pres.Child(ns, name); el != nil {
		return el.Text
	}
	return ""
}
