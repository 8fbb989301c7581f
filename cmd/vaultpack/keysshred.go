package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

func keysShred(c *cli.Context, con *console, d *dataset.Dataset, _ []string) error {
	rings, err := d.Keyrings(c.Context)
	if errors.Is(err, dataset.ErrUnknownDataset) {
		// The keyrings may already have been deleted, while their old versions
		// still exist.
		if old, oerr := d.OldKeyrings(c.Context); oerr != nil || old == 0 {
			return err
		}
		err = nil
	}
	if err != nil && !errors.Is(err, envelope.ErrAuthentication) {
		return err
	}
	con.warnf("This deletes the %s of dataset %s in the vault %s. After that, no key opens the data in the vault.\n"+
		"It does not reach copies of the keyrings in backups, snapshots and other copies of the vault:\n"+
		"with such a copy, its keys still open the dataset.", count(int64(len(rings)), "keyring"), d.Name, show(d.Vault().Location))
	if err := d.Busy(c.Context); errors.Is(err, dataset.ErrBusy) {
		con.warnf("An upload to %s is running, and will fail.", d.Name)
	} else if err != nil {
		con.warning(fmt.Errorf("cannot find out whether an upload is running: %w", err))
	}
	if err := confirmed(c.Context, c, con, d.Name); err != nil {
		return err
	}
	n, err := d.Shred(c.Context)
	if err != nil {
		return err
	}
	deleted, left, err := shredOld(c, con, d)
	con.emit("summary", event{"command": "keys shred", "dataset": d.Name, "keyrings": n, "old_versions_deleted": deleted, "old_versions_left": left})
	con.printf("shredded: %s of %s", count(int64(n), "keyring"), d.Name)
	if deleted > 0 {
		con.printf("deleted: %s of them that the bucket kept", count(int64(deleted), "old version"))
	}
	if err != nil {
		return err
	}
	if left > 0 {
		con.warnf("The bucket keeps %s of the keyrings. Whoever can read them and use their keys can still read the dataset.\n"+
			"Delete them with: %s", count(int64(left), "old version"), con.next("keys", "shred", d.Name, "--old-versions", "--confirm", d.Name))
	}
	con.notef("The data that is left in the vault cannot be opened. Remove it with: %s", con.next("rm", d.Name, "--confirm", d.Name))
	return nil
}

// shredOld deletes the old versions of keyrings that a bucket keeps, if the user confirms
// it.
func shredOld(c *cli.Context, con *console, d *dataset.Dataset) (deleted, left int, err error) {
	left, err = d.OldKeyrings(c.Context)
	if err != nil && !c.Bool("old-versions") {
		con.warning(fmt.Errorf("cannot find out whether the bucket keeps old versions of the keyrings, which would open the dataset: %w", err))
		return 0, left, nil
	}
	if err != nil || left == 0 {
		return 0, left, err
	}
	if !c.Bool("old-versions") {
		answer, err := ask(c.Context, con, fmt.Sprintf("The bucket keeps %s of the keyrings. Delete them too, for good? [y/N] ", count(int64(left), "old version")))
		if err != nil || answer != "y" && answer != "yes" {
			return 0, left, err
		}
	}
	deleted, err = d.ShredOld(c.Context)
	return deleted, left - deleted, err
}

// ask returns the line that the user types, or "" if nobody can be asked.
func ask(ctx context.Context, con *console, question string) (string, error) {
	if con.json || !term.IsTerminal(int(con.stdin.Fd())) {
		return "", nil
	}
	fmt.Fprint(con.stderr, question)
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(con.stdin).ReadString('\n')
		line <- strings.TrimSpace(s)
	}()
	select {
	case s := <-line:
		return s, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// confirmed checks that the user means the dataset of this name.
func confirmed(ctx context.Context, c *cli.Context, con *console, name string) error {
	answer := c.String("confirm")
	if answer == "" {
		var err error
		if answer, err = ask(ctx, con, "Type the dataset's name to continue: "); err != nil {
			return err
		}
	}
	if answer == "" {
		return usagef("nothing was done: confirm with --confirm %s", name)
	}
	if answer != name {
		return usagef("nothing was done: %q is not the name of the dataset, %s", answer, name)
	}
	return nil
}
