package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// table prints what media or turn wrote with -out as tables of Markdown: a row for
// each load, and of media for each server, with the medians of the rounds.
func table(_ context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("files that media or turn wrote with -out are expected")
	}
	files := map[string][]byte{}
	for _, name := range args {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files[name] = b
	}
	if done, err := turnTable(files); done || err != nil {
		return err
	}
	fmt.Println("| Load | Server | packets/s per core | most packets/s without loss | p50, p99, p99.9 at half of it, ms | KB per endpoint | least to most packets of a receiver |")
	fmt.Println("|---|---|---|---|---|---|---|")
	var ratios []string
	for _, name := range args {
		var file struct{ Results map[string][]result }
		if err := json.Unmarshal(files[name], &file); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		load := strings.TrimSuffix(filepath.Base(name), ".json")
		per := map[string]float64{}
		best, bestName := 0.0, ""
		for _, server := range []string{"confab", "janus", "galene", "livekit", "ceiling"} {
			rs := whole(file.Results[server])
			if len(rs) == 0 {
				if failed := file.Results[server]; len(failed) > 0 {
					fmt.Printf("| %s | %s | %s | | | | |\n", load, server, failed[0].Failed)
				}
				continue
			}
			mid := func(f func(*result) float64) float64 { return middle(rs, f) }
			per[server] = mid(func(r *result) float64 { return r.PerCore })
			if server == "ceiling" {
				fmt.Printf("| %s | ceiling | %s | | | | |\n", load, thousands(per[server]))
				continue
			}
			if server != "confab" && per[server] > best {
				best, bestName = per[server], server
			}
			half := func(f func(*result) float64) float64 {
				return mid(func(r *result) float64 {
					if r.Half == nil {
						return 0
					}
					return f(r.Half)
				})
			}
			receivers := slices.MaxFunc(rs, func(a, b result) int { return int(a.Receivers.Most) - int(b.Receivers.Most) }).Receivers
			fmt.Printf("| %s | %s | %s | %s | %.2f, %.2f, %.2f | %.0f | %d to %d |\n", load, server, thousands(per[server]),
				thousands(mid(func(r *result) float64 { return r.Capacity })),
				half(func(r *result) float64 { return r.P50 }), half(func(r *result) float64 { return r.P99 }), half(func(r *result) float64 { return r.P999 }),
				mid(func(r *result) float64 { return r.MemoryPerEndpoint }), receivers.Least, receivers.Most)
		}
		if per["confab"] > 0 && best > 0 && per["ceiling"] > 0 {
			ratios = append(ratios, fmt.Sprintf("| %s | %.2f (%s) | %.2f |", load, per["confab"]/best, bestName, per["confab"]/per["ceiling"]))
		}
	}
	if len(ratios) > 0 {
		fmt.Printf("\n| Load | Confab : best other | Confab : ceiling |\n|---|---|---|\n%s\n", strings.Join(ratios, "\n"))
	}
	return nil
}

func thousands(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
