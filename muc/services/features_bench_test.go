package services

import (
	"fmt"
	"testing"

	"confab/muc"
	"confab/xmpp"
)

// What commands cost in a room of many, from the stanza to everybody's queue.

func benchCommand(b *testing.B, mk func(*muc.Room) muc.RoomService, prepare, inner string, vary func(i int) string) {
	for _, n := range []int{10, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n, 0)
			c.do(b, func(r *muc.Room) {
				svc := mk(r).(muc.Command)
				o := r.Occupies(c.people[0].jid)
				send := func(inner string) {
					if err := svc.Command(r, o, xmpp.NewStanza(xmpp.Message, "", "", c.people[0].jid, xmpp.JID{}, inner)); err != nil {
						b.Fatal(err)
					}
				}
				if prepare != "" {
					send(prepare)
				}
				before := c.got.Load()
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					send(fmt.Sprintf(inner, vary(i)))
				}
				b.StopTimer()
				b.ReportMetric(float64(c.got.Load()-before)/float64(b.N), "stanzas/op")
			})
		})
	}
}

// BenchmarkVote is one vote, which everybody hears of.
func BenchmarkVote(b *testing.B) {
	benchCommand(b, NewPolls(PollsConfig{Domain: "polls.meet.example", Max: 10}),
		`<json-message xmlns="http://jitsi.org/jitmeet">{"type":"polls","command":"new-poll","pollId":"p","question":"q","answers":[{"name":"a"},{"name":"b"}]}</json-message>`,
		`<json-message xmlns="http://jitsi.org/jitmeet">{"type":"polls","command":"answer-poll","pollId":"p","answers":%s}</json-message>`,
		func(i int) string { return []string{"[true,false]", "[false,true]"}[i%2] })
}

// BenchmarkModeration switches AV moderation on and off.
func BenchmarkModeration(b *testing.B) {
	benchCommand(b, NewAVModeration("avmoderation.meet.example"), "", `<av_moderation enable="%s" mediaType="audio"/>`,
		func(i int) string { return fmt.Sprint(i%2 == 0) })
}

// BenchmarkApprove lets one participant unmute and takes it back.
func BenchmarkApprove(b *testing.B) {
	benchCommand(b, NewAVModeration("avmoderation.meet.example"), `<av_moderation enable="true" mediaType="audio"/>`,
		`<av_moderation jidTo%s="r@conference.meet.example/00000001" mediaType="audio"/>`,
		func(i int) string { return []string{"Whitelist", "Blacklist"}[i%2] })
}
