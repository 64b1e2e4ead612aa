package sources

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"confab/xmpp/xep/jingle"
)

var limits = Limits{Sources: 20, Groups: 20}

// camera is one camera in three layers with retransmission, as LJM signals it.
func camera(owner string, base uint32) Set {
	name, msid := owner+"-v0", owner+"-video-0-1 x-1"
	var s Set
	for _, ssrc := range []uint32{1, 11, 2, 3, 12, 13} {
		s.Sources = append(s.Sources, Source{base + ssrc, Video, name, msid, "camera"})
	}
	s.Groups = []Group{
		{jingle.FID, Video, []uint32{base + 1, base + 11}},
		{jingle.SIM, Video, []uint32{base + 1, base + 2, base + 3}},
		{jingle.FID, Video, []uint32{base + 2, base + 12}},
		{jingle.FID, Video, []uint32{base + 3, base + 13}},
	}
	return s
}

func microphone(owner string, ssrc uint32) Set {
	return Set{Sources: []Source{{ssrc, Audio, owner + "-a0", owner + "-audio-0-1 y-1", ""}}}
}

func mustAdd(t *testing.T, m *Map, owner string, s Set) {
	t.Helper()
	if err := m.Add(owner, s); err != nil {
		t.Fatal(err)
	}
}

func TestAddAndRemove(t *testing.T) {
	t.Parallel()
	m := NewMap(limits)
	mustAdd(t, m, "aaaa", microphone("aaaa", 5000))
	mustAdd(t, m, "aaaa", camera("aaaa", 1000))
	mustAdd(t, m, "bbbb", camera("bbbb", 2000))
	if m.Len() != 13 {
		t.Errorf("%d sources", m.Len())
	}
	// One layer of the simulcast set goes: the other two stay one source.
	removed, err := m.Remove("aaaa", Set{Sources: []Source{{SSRC: 1003}, {SSRC: 1013}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(removed.Sources) != 2 || len(removed.Groups) != 2 {
		t.Errorf("removed %+v", removed)
	}
	if g := m.Get("aaaa").Groups; len(g) != 3 || !reflect.DeepEqual(g[1].SSRCs, []uint32{1001, 1002}) {
		t.Errorf("left %+v", g)
	}
	if got := m.Drop("bbbb"); len(got.Sources) != 6 || m.Len() != 5 {
		t.Errorf("dropped %d, left %d", len(got.Sources), m.Len())
	}
	mustAdd(t, m, "cccc", Set{Sources: []Source{{2001, Video, "cccc-v0", "m", ""}}}) // a leaver's SSRC is free again
}

// Every way to be refused leaves the map as it was.
func TestHostileAdd(t *testing.T) {
	t.Parallel()
	many := Set{}
	for i := range uint32(21) {
		many.Sources = append(many.Sources, Source{9000 + i, Video, "aaaa-v9", "", ""})
	}
	groups := camera("aaaa", 3000)
	for i := range 20 {
		groups.Groups = append(groups.Groups, Group{fmt.Sprint("X", i), Video, []uint32{3001}})
	}
	for _, tc := range []struct {
		name string
		add  Set
		want string
	}{
		{"zero", Set{Sources: []Source{{0, Audio, "aaaa-a0", "m", ""}}}, "Invalid SSRC"},
		{"foreign SSRC", microphone("aaaa", 2001), "SSRC 2001 is already used"},
		{"own SSRC again", microphone("aaaa", 1001), "SSRC 1001 is already used"},
		{"twice in one", Set{Sources: []Source{{7, Audio, "aaaa-a0", "", ""}, {7, Audio, "aaaa-a0", "", ""}}}, "SSRC 7 is already used"},
		{"the bridge's SSRC", microphone("aaaa", 77), "SSRC 77 is already used"},
		{"foreign msid", Set{Sources: []Source{{7, Video, "aaaa-v1", "bbbb-video-0-1 x-1", ""}}}, `MSID "bbbb-video-0-1 x-1" is already used`},
		{"own msid for another track", Set{Sources: []Source{{7, Video, "aaaa-v1", "aaaa-video-0-1 x-1", ""}}}, `MSID "aaaa-video-0-1 x-1" is already used`},
		{"foreign name", Set{Sources: []Source{{7, Video, "bbbb-v1", "m", ""}}}, `Source name "bbbb-v1" is not one of the sender's`},
		{"the bridge's name", Set{Sources: []Source{{7, Video, "jvb-v0", "m", ""}}}, `Source name "jvb-v0" is not one of the sender's`},
		{"name of a longer owner", Set{Sources: []Source{{7, Video, "aaaa-b-v1", "m", ""}}}, `Source name "aaaa-b-v1" is not one of the sender's`},
		{"name without index", Set{Sources: []Source{{7, Video, "aaaa-v", "m", ""}}}, `Source name "aaaa-v" is not one of the sender's`},
		{"name in two media", Set{Sources: []Source{{7, Audio, "aaaa-v0", "m", ""}}}, `Source name "aaaa-v0" is used for two media`},
		{"long msid", Set{Sources: []Source{{7, Video, "aaaa-v1", strings.Repeat("m", 257), ""}}}, "Source name or MSID is too long"},
		{"too many", many, "SSRC limit (20) exceeded"},
		{"too many groups", groups, "ssrc-group limit (20) exceeded"},
		{"group of nobody", Set{Groups: []Group{{jingle.FID, Video, []uint32{1001, 4}}}}, "ssrc-group contains an SSRC that hasn't been signaled"},
		{"group of another's", Set{Groups: []Group{{jingle.FID, Video, []uint32{1001, 2001}}}}, "ssrc-group contains an SSRC that hasn't been signaled"},
		{"group over media", Set{Sources: []Source{{7, Audio, "aaaa-a0", "aaaa-video-0-1 x-1", ""}}, Groups: []Group{{jingle.FID, Video, []uint32{1001, 7}}}}, "ssrc-group contains an SSRC that hasn't been signaled"},
		{"FID of three", Set{Groups: []Group{{jingle.FID, Video, []uint32{1001, 1002, 1003}}}}, "Invalid FID group"},
		{"FID of one, twice", Set{Sources: []Source{{7, Video, "aaaa-v1", "m", ""}}, Groups: []Group{{jingle.FID, Video, []uint32{7, 7}}}}, "ssrc-group contains an SSRC twice"},
		{"long SIM of few", Set{Groups: []Group{{jingle.SIM, Video, []uint32{1001, 1002, 1001, 1002, 1001}}}}, "ssrc-group contains an SSRC twice"},
		{"two retransmissions", Set{Groups: []Group{{jingle.FID, Video, []uint32{1001, 1012}}}}, "Invalid FID group"},
		{"group without msid", Set{Sources: []Source{{7, Video, "aaaa-v1", "", ""}, {8, Video, "aaaa-v1", "", ""}}, Groups: []Group{{jingle.FID, Video, []uint32{7, 8}}}}, "Required source parameter 'msid' is missing"},
		{"group of two msids", Set{Sources: []Source{{7, Video, "aaaa-v1", "m", ""}, {8, Video, "aaaa-v1", "n", ""}}, Groups: []Group{{jingle.FID, Video, []uint32{7, 8}}}}, "Sources of a group have different MSIDs"},
	} {
		m := NewMap(limits)
		m.Put(Bridge, Set{Sources: []Source{{77, Video, "jvb-v0", "mixedmslabel mixedlabelvideo0", ""}}})
		mustAdd(t, m, "aaaa", camera("aaaa", 1000))
		mustAdd(t, m, "bbbb", camera("bbbb", 2000))
		before := m.Get("aaaa")
		err := m.Add("aaaa", tc.add)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
		if !reflect.DeepEqual(m.Get("aaaa"), before) || m.Len() != 13 {
			t.Errorf("%s: the map changed", tc.name)
		}
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	m := NewMap(limits)
	mustAdd(t, m, "aaaa", Set{Sources: []Source{{1, Audio, "aaaa-a0", "same", ""}, {2, Video, "aaaa-v0", "same", ""}}}) // audio and video may share
	mustAdd(t, m, "aaaa", Set{Sources: []Source{{3, Video, "aaaa-v1", "", ""}, {4, Video, "aaaa-v2", "", ""}}})         // no msid, no group
	mustAdd(t, m, "aaaa", Set{Groups: []Group{{jingle.SIM, Video, nil}}})                                               // empty group
	mustAdd(t, m, "bbbb", Set{Sources: []Source{{5, Audio, "bbbb-a0.en", "", ""}}})
	mustAdd(t, m, "aaaa", Set{})
	for i := range uint32(16) {
		mustAdd(t, m, "aaaa", Set{Sources: []Source{{100 + i, Video, "aaaa-v9", "", ""}}})
	}
	if err := m.Add("aaaa", Set{Sources: []Source{{200, Video, "aaaa-v9", "", ""}}}); err == nil {
		t.Error("the 21st was taken")
	}
}

func TestHostileRemove(t *testing.T) {
	t.Parallel()
	m := NewMap(limits)
	mustAdd(t, m, "aaaa", camera("aaaa", 1000))
	mustAdd(t, m, "bbbb", camera("bbbb", 2000))
	for _, rem := range []Set{
		{Sources: []Source{{SSRC: 2001}}},
		{Sources: []Source{{SSRC: 0}}},
		{Sources: []Source{{SSRC: 1001}, {SSRC: 5}}},
		{Groups: []Group{{jingle.FID, Video, []uint32{1001, 1012}}}},
		// Taking the group away would leave layers that share an msid.
		{Groups: []Group{{jingle.SIM, Video, []uint32{1001, 1002, 1003}}}},
	} {
		if _, err := m.Remove("aaaa", rem); err == nil {
			t.Errorf("%+v was removed", rem)
		}
	}
	if m.Len() != 12 || len(m.Get("aaaa").Groups) != 4 {
		t.Error("the map changed")
	}
}

// The receiver is told of one SSRC and its retransmission.
func TestStripSimulcast(t *testing.T) {
	t.Parallel()
	all := camera("aaaa", 1000)
	all.Sources = append(all.Sources, microphone("aaaa", 5000).Sources...)
	got := all.For(Receiver{Audio: true, Video: true})
	var ssrcs []uint32
	for _, s := range got.Sources {
		ssrcs = append(ssrcs, s.SSRC)
	}
	if want := []uint32{1001, 1011, 5000}; !reflect.DeepEqual(ssrcs, want) {
		t.Errorf("sources %v, want %v", ssrcs, want)
	}
	if want := []Group{{jingle.FID, Video, []uint32{1001, 1011}}}; !reflect.DeepEqual(got.Groups, want) {
		t.Errorf("groups %v, want %v", got.Groups, want)
	}
	if got := all.For(Receiver{Audio: true}); len(got.Sources) != 1 || len(got.Groups) != 0 {
		t.Errorf("audio only: %+v", got)
	}
	// Without retransmission.
	plain := Set{Sources: []Source{{1, Video, "a-v0", "m", ""}, {2, Video, "a-v0", "m", ""}}, Groups: []Group{{jingle.SIM, Video, []uint32{1, 2}}}}
	if got := plain.For(Receiver{Video: true}); len(got.Sources) != 1 || len(got.Groups) != 0 {
		t.Errorf("plain: %+v", got)
	}
}

func TestMinus(t *testing.T) {
	t.Parallel()
	a := camera("aaaa", 1000)
	b := a.clone()
	b.Sources = append(b.Sources, microphone("aaaa", 5000).Sources...)
	if got := b.Minus(a); len(got.Sources) != 1 || got.Sources[0].SSRC != 5000 || len(got.Groups) != 0 {
		t.Errorf("%+v", got)
	}
	if !a.Minus(b).Empty() {
		t.Error("something is left")
	}
}

func TestBySource(t *testing.T) {
	t.Parallel()
	s := camera("aaaa", 1000)
	s.Sources = append(s.Sources, microphone("aaaa", 5000).Sources...)
	got := s.BySource()
	if len(got) != 2 || got[0].Name != "aaaa-v0" || len(got[0].Sources) != 6 || len(got[0].Groups) != 4 || got[1].Name != "aaaa-a0" || got[0].Sources[0].MSID != "" {
		t.Errorf("%+v", got)
	}
}

// Old clients send no names.
func TestNamesOfOldClients(t *testing.T) {
	t.Parallel()
	var s Set
	s.Append("25c45a00", Video, []jingle.Source{{SSRC: 1}}, nil)
	s.Append("25c45a00", Audio, []jingle.Source{{SSRC: 2}}, nil)
	if s.Sources[0].Name != "25c45a00-v0" || s.Sources[1].Name != "25c45a00-a0" {
		t.Errorf("%+v", s)
	}
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		m := NewMap(limits)
		for i := range 100 {
			owner := fmt.Sprintf("%08x", i)
			if err := m.Add(owner, camera(owner, uint32(i+1)*1000)); err != nil {
				b.Fatal(err)
			}
		}
	}
}
