package mailbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestOrderAndLimit(t *testing.T) {
	b := New[int](4)
	for i := range 4 {
		if err := b.Put(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Put(4); !errors.Is(err, ErrFull) {
		t.Fatalf("Put past the limit: %v", err)
	}
	got, err := b.Take(t.Context())
	if err != nil || len(got) != 4 || got[0] != 0 || got[3] != 3 {
		t.Fatalf("Take = %v, %v", got, err)
	}
}

func TestPutWaitLeavesTheLastQuarterToActors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New[int](4)
		for i := range 3 {
			if err := b.PutWait(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() { done <- b.PutWait(t.Context(), 3) }()
		synctest.Wait()
		if err := b.Put(99); err != nil {
			t.Fatalf("an actor's Put must still fit: %v", err)
		}
		if _, err := b.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		got, _ := b.Take(t.Context())
		if len(got) != 1 || got[0] != 3 {
			t.Fatalf("after room was made: %v", got)
		}
	})
}

func TestClose(t *testing.T) {
	b := New[int](4)
	_ = b.Put(1)
	b.Close()
	b.Close()
	if err := b.Put(2); !errors.Is(err, ErrClosed) {
		t.Fatalf("Put after Close: %v", err)
	}
	if got, err := b.Take(context.Background()); err != nil || len(got) != 1 {
		t.Fatalf("queued events must survive Close: %v %v", got, err)
	}
	if _, err := b.Take(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("Take on an empty closed box: %v", err)
	}
}

func TestCloseIfEmpty(t *testing.T) {
	b := New[int](4)
	_ = b.Put(1)
	if b.CloseIfEmpty() {
		t.Fatal("closed with an event inside")
	}
	if _, err := b.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.CloseIfEmpty() || !b.CloseIfEmpty() {
		t.Fatal("not closed")
	}
	if err := b.Put(2); !errors.Is(err, ErrClosed) {
		t.Fatalf("Put after CloseIfEmpty: %v", err)
	}
}

func BenchmarkPutTake(b *testing.B) {
	box := New[int](1024)
	b.ReportAllocs()
	for b.Loop() {
		_ = box.Put(1)
		_, _ = box.Take(b.Context())
	}
}

// An event that comes between the signal and TakeNow signals once more although
// it has been taken.
func TestReadyMayBeStale(t *testing.T) {
	b := New[int](4)
	_ = b.Put(1)
	<-b.Ready()
	_ = b.Put(2)
	if got, err := b.TakeNow(); err != nil || len(got) != 2 {
		t.Fatalf("%v %v", got, err)
	}
	<-b.Ready()
	if got, err := b.TakeNow(); err != nil || got != nil {
		t.Fatalf("%v %v", got, err)
	}
}

// What has been taken is kept no longer than until the next Take, however few
// come after many.
func TestTakenEventsAreForgotten(t *testing.T) {
	b := New[*int](100)
	for _, n := range []int{50, 2, 1, 30, 1, 1} {
		for range n {
			_ = b.Put(new(int))
		}
		if _, err := b.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.events[:cap(b.events)] {
			if p != nil {
				t.Fatal("an event of an earlier Take is kept")
			}
		}
	}
}
