package web

import (
	"crypto/rand"
	"strings"
)

// freshRoom is a room name that can be read out and typed: four words of three
// syllables each, 72 random bits (deployment.md §7.2 asks for 60 or more).
func freshRoom() string {
	const consonants, vowels = "bdfghjklmnprstvz", "aeio" // 16 × 4: six bits a syllable
	raw := make([]byte, 12)
	rand.Read(raw)
	var b strings.Builder
	for i, r := range raw {
		if i > 0 && i%3 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(consonants[r>>4])
		b.WriteByte(vowels[r>>2&3])
	}
	return b.String()
}
