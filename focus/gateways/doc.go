// Package gateways knows the recorders (Jibri) and the telephone gateways and
// transcribers (Jigasi) that show themselves in their breweries, and chooses
// among them. It is pure: time comes in as a parameter.
package gateways
