package main

// confab config: the default with its explanations, and what holds here.

import (
	"io"

	"confab/cmd/confab/config"
)

// config is "confab config default" and "confab config show".
func (p *program) config(args []string) error {
	rest, err := p.parse(p.flagSet("config"), args)
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] != "default" && rest[0] != "show" {
		return usageError("config: default or show expected")
	}
	if rest[0] == "default" {
		_, err := io.WriteString(p.stdout, config.Default())
		return err
	}
	cfg, err := p.load()
	if err != nil {
		return err
	}
	return config.Show(p.stdout, cfg)
}
