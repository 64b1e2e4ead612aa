package storagetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// childEnv holds the database address in the process that is to be killed.
const childEnv = "CONFAB_STORAGE_TEST_CHILD"

// Kill checks that nothing acknowledged is lost when the process is killed: a
// second copy of the test program, running the same test, writes accounts and
// reports each that storage acknowledged; it gets SIGKILL in the middle; then all
// reported ones must be there. The calling test must not be a subtest.
func Kill(t *testing.T, fresh func(t *testing.T) string, open func(ctx context.Context, address string) (Store, error)) {
	if address := os.Getenv(childEnv); address != "" {
		writeUntilKilled(t, world{address, open})
		return
	}
	w := world{fresh(t), open}
	for round := range 3 { // the second and third find the log of a killed process
		acknowledged := killWriter(t, w, round, 20)
		s := w.open(t)
		for _, user := range acknowledged {
			if got := mustAccount(t, s, user, "meet.example"); !same(got, account(user, "meet.example", 1)) {
				t.Errorf("account %s is damaged: %+v", user, got)
			}
		}
		t.Logf("round %d: killed after %d acknowledged accounts, all there", round, len(acknowledged))
	}
}

// killWriter starts the child, kills it after it has acknowledged so many
// accounts and returns all it had acknowledged by then.
func killWriter(t *testing.T, w world, round, after int) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+w.address, fmt.Sprintf("%s_ROUND=%d", childEnv, round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		user, found := strings.CutPrefix(lines.Text(), "acknowledged ")
		if !found {
			continue
		}
		acknowledged = append(acknowledged, user)
		if len(acknowledged) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acknowledged) < after {
		t.Fatalf("the writer ended by itself after %d accounts", len(acknowledged))
	}
	return acknowledged
}

func writeUntilKilled(t *testing.T, w world) {
	s := w.open(t)
	for i := range 100_000 {
		user := fmt.Sprintf("u%s-%d", os.Getenv(childEnv+"_ROUND"), i)
		mustCreate(t, s, account(user, "meet.example", 1))
		os.Stdout.WriteString("acknowledged " + user + "\n") // one system call, no buffer to lose
	}
}
