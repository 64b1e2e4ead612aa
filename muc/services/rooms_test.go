package services_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/services"
	"confab/xmpp"
)

// all is a world with every service of this file's features, in main and side rooms.
func all(t *testing.T, webSocket bool) (w *roomworld.World, breakout *muc.Service) {
	polls := services.NewPolls(services.PollsConfig{Domain: "polls.meet.example", Max: 3})
	speakers := services.NewSpeakerStats("speakerstats.meet.example")
	w = roomworld.New(t, roomworld.Options{
		WebSocket: webSocket,
		Services: []func(*muc.Room) muc.RoomService{
			polls, speakers, services.NewAVModeration("avmoderation.meet.example"), services.NewEndConference,
			services.NewDuration("conferenceduration.meet.example"),
			services.NewFileSharing(services.FileSharingConfig{Domain: "filesharing.meet.example"}),
		},
		Build: func(w *roomworld.World) {
			breakout = muc.NewService(muc.Config{
				Domain: "breakout.meet.example", Main: w.Main, Inside: true, Client: w.Client,
				Services: []func(*muc.Room) muc.RoomService{
					services.NewMetadata(services.MetadataConfig{Domain: "metadata.meet.example"}), polls, speakers,
				},
			}, w.Router, slog.New(slog.DiscardHandler))
			w.Serve(breakout)
			for name, domain := range map[string]string{
				services.PollsName: "polls.meet.example", services.AVModerationName: "avmoderation.meet.example",
				services.EndConferenceName: "endconference.meet.example", services.DurationName: "conferenceduration.meet.example",
				services.FileSharingName: "filesharing.meet.example",
			} {
				w.Router.Serve(domain, services.NewComponent(name, domain, w.Main, w.Router))
			}
			w.Router.Serve("speakerstats.meet.example", services.NewSpeakerStatsComponent("speakerstats.meet.example", w.Main, w.Router))
		},
	})
	return w, breakout
}

func TestEachRoomHasItsOwn(t *testing.T) {
	t.Parallel()
	roomworld.Twice(t, "testdata/sides.xmpp", func(t *testing.T, webSocket bool) *roomworld.World {
		w, breakout := all(t, webSocket)
		focus, err := w.Dial("F")
		if err != nil {
			t.Fatal(err)
		}
		_ = focus.Send(`<presence to="r@conference.meet.example/focus"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
		synctest.Wait()
		err = w.Main.Do(context.Background(), xmpp.MustJID("r@conference.meet.example"), func(r *muc.Room) {
			if _, err := r.Open(breakout, "side"); err != nil {
				t.Error(err)
			}
			r.Hold("test")
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = focus.Close()
		synctest.Wait()
		return w
	})
}
