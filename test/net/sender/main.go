// Command sender brings people into a meeting who play a recorded camera and
// microphone, with the decodable frames that record.mjs made.
//
//	sender -url wss://… -domain D -room R -clip clip.json -n 2
//
// It prints the endpoint id of each, and stays until standard input ends.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"confab/internal/meettest"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("sender: ")
	url := flag.String("url", "", "WebSocket of the server")
	domain := flag.String("domain", "", "domain of the server")
	room := flag.String("room", "", "room to join")
	clip := flag.String("clip", "", "the recording")
	n := flag.Int("n", 1, "how many people")
	flag.Parse()
	media, err := load(*clip)
	if err != nil {
		log.Fatal(err)
	}
	if err := run(*n, *room, meettest.Options{URL: *url, Domain: *domain, Media: media}); err != nil {
		log.Fatal(err)
	}
}

func run(n int, room string, opt meettest.Options) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i := range n {
		opt.Name = fmt.Sprintf("Sender %d", i+1)
		if i > 0 { // the first is who talks
			m := *opt.Media
			m.Level = 127
			opt.Media = &m
		}
		c, err := meettest.Dial(ctx, opt)
		if err == nil {
			defer c.Kill()
			err = c.Join(ctx, room)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", opt.Name, err)
		}
		fmt.Println(c.Nick())
		go func() {
			<-c.Done()
			if err := c.Err(); err != nil {
				log.Print(err)
			}
		}()
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// load reads what record.mjs wrote.
func load(path string) (*meettest.Media, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the recording: %w", err)
	}
	var c struct {
		FPS    int
		Layers []struct {
			Width, Height int
			Frames        []frame
		}
		Opus [][]byte
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m := &meettest.Media{Audio: true, Level: 30, FPS: c.FPS, Opus: c.Opus}
	for _, l := range c.Layers {
		bytes := 0
		frames := make([]meettest.Frame, len(l.Frames))
		for i, f := range l.Frames {
			frames[i] = meettest.Frame(f)
			bytes += len(f.Data)
		}
		m.Layers = append(m.Layers, meettest.Layer{Width: l.Width, Height: l.Height, Bitrate: bytes * 8 * c.FPS / max(len(frames), 1)})
		m.Recorded = append(m.Recorded, frames)
	}
	return m, nil
}

// frame is [temporal layer, base64].
type frame meettest.Frame

func (f *frame) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&f.Temporal, &f.Data})
}
