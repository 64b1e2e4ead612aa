package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// turnTable prints what turn wrote with -out as a table of Markdown, a row for each
// load. It is false for files of another command.
func turnTable(files map[string][]byte) (bool, error) {
	var loads []turnFile
	for name, b := range files {
		var f turnFile
		if err := json.Unmarshal(b, &f); err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		if f.Kind != "turn" {
			return false, nil
		}
		loads = append(loads, f)
	}
	slices.SortFunc(loads, func(a, b turnFile) int { return strings.Compare(a.order(), b.order()) })
	fmt.Println("| Load | Confab: packets/s of a core; most | coturn: packets/s of a core; most | Confab : coturn, of a core | Latency at half of its own most, p50; p99, ms: Confab | coturn | At the same rate, Confab : coturn of a core; p50; p99, ms: Confab | coturn | KB per allocation: Confab | coturn |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, f := range loads {
		row := []string{f.load()}
		for _, name := range turnNames {
			bound := ""
			if slices.ContainsFunc(f.Results[name], func(r result) bool { return r.GeneratorBound }) {
				bound = " or more"
			}
			row = append(row, fmt.Sprintf("%s; %s%s", thousands(f.mid(name, perCore)), thousands(f.mid(name, perSecond)), bound))
		}
		ratio := func(of func(*result) float64) float64 { return f.mid("confab", of) / max(f.mid("coturn", of), 1) }
		row = append(row, fmt.Sprintf("**%.2f**", ratio(perCore)))
		late := func(name string, of func(*result) *result) string {
			if rs := f.Results[name]; len(rs) == 0 || of(&rs[0]) == nil {
				return fmt.Sprintf("at that rate %.3f; %.3f", f.mid(name, p50), f.mid(name, p99))
			}
			return fmt.Sprintf("%.3f; %.3f", f.mid(name, part(of, p50)), f.mid(name, part(of, p99)))
		}
		row = append(row, late("confab", half), late("coturn", half))
		if rs := f.Results["confab"]; len(rs) > 0 && rs[0].Alike != nil {
			row = append(row, fmt.Sprintf("%.2f; %s", ratio(part(alike, perCore)), late("confab", alike)), late("coturn", alike))
		} else {
			row = append(row, "–", "–")
		}
		row = append(row,
			fmt.Sprintf("%.1f", f.memory("confab")), fmt.Sprintf("%.1f", f.memory("coturn")))
		fmt.Println("| " + strings.Join(row, " | ") + " |")
	}
	return true, nil
}

// load names what is in a file.
func (f *turnFile) load() string {
	s := fmt.Sprintf("%d × %s bytes, %s", f.Allocations, thousands(float64(f.Size)), f.Direction)
	if f.Transport != "udp" {
		s += ", " + strings.ToUpper(f.Transport)
	}
	if f.Send {
		s += ", Send and Data indications"
	}
	if f.Slot > 0 {
		s += fmt.Sprintf(", paced in slots of %v", f.Slot)
	} else if f.Run > 1 {
		s += fmt.Sprintf(", %d in a row", f.Run)
	}
	if f.Segment {
		s += ", as one run (UDP_SEGMENT, UDP_GRO)"
	}
	return s
}

func (f *turnFile) order() string {
	return fmt.Sprintf("%s %t %v %t %03d %04d %05d %s", map[string]string{"udp": "a", "tcp": "b", "tls": "c"}[f.Transport], f.Segment, f.Slot, f.Send, f.Run,
		9999-f.Size, f.Allocations, f.Direction)
}
