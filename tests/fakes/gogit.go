// A git client made of go-git, for the tests of other clients: it clones and pushes over HTTP, and says what it was told.
//
//	gogit clone TOKEN_FILE URL FOLDER
//	gogit push  TOKEN_FILE FOLDER REFSPEC
//
// TOKEN_FILE holds TOKEN:SECRET on one line. Exit status 1 and the reason on standard error if it did not work.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gogit:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: gogit clone|push TOKEN_FILE ...")
	}
	login, err := read(args[1])
	if err != nil {
		return err
	}
	if args[0] == "clone" {
		_, err := git.PlainClone(args[3], false, &git.CloneOptions{URL: args[2], Auth: login, Progress: os.Stderr})
		return err
	}
	repository, err := git.PlainOpen(args[2])
	if err != nil {
		return err
	}
	specs := []config.RefSpec{config.RefSpec(args[3])}
	return repository.Push(&git.PushOptions{RefSpecs: specs, Auth: login, Progress: os.Stderr})
}

func read(path string) (*http.BasicAuth, error) {
	line, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &http.BasicAuth{Username: "x-gateway-token", Password: strings.TrimSpace(string(line))}, nil
}
