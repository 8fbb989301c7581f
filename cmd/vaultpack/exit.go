package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/exitcode"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/trainer/folder"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

// The exit codes, as in the help.
const (
	exitDone           = exitcode.Done
	exitFailed         = exitcode.Failed
	exitUsage          = exitcode.Usage
	exitSomeFailed     = exitcode.SomeFailed
	exitAuthentication = exitcode.Authentication
	exitNotAllowed     = exitcode.NotAllowed
	exitInterrupted    = exitcode.Interrupted
)

var errInterrupted = errors.New("interrupted; nothing is lost, run the same command again to continue")

// A usageError is a mistake in what was typed or configured.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// A partialError ends a command that did its work except for some files, which have all
// been reported already.
type partialError struct {
	text string
	code int
	hint string // as hint returns it
}

func (e *partialError) Error() string { return e.text }

// exitCode is the only place where an error becomes an exit code.
func exitCode(err error) int {
	var usage usageError
	var partial *partialError
	switch {
	case errors.As(err, &partial):
		return partial.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	return exitcode.Of(err)
}

// worse returns the more informative exit code.
func worse(a, b int) int {
	rank := map[int]int{exitDone: 0, exitSomeFailed: 1, exitFailed: 2, exitNotAllowed: 3, exitAuthentication: 4}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// damagedHint says how to continue if a version cannot be read.
func damagedHint(e *dataset.DamagedError) string {
	return fmt.Sprintf("do not use version %d. If you have a backup of the vault, restore what is damaged or missing. "+
		"{versions %s} shows which versions can be read, and how to restore one; to continue without this one: {rm %s@%d --damaged}",
		e.Number, e.Dataset, e.Dataset, e.Number)
}

func isLocal(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

func isNetwork(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) || errors.As(err, &dns)
}

// planHint is hint for errors of plans.
func planHint(err error) string {
	var open *dataset.OpenPlanError
	var missing *plans.MissingError
	var shard *plans.ShardError
	switch {
	case errors.As(err, &missing):
		return fmt.Sprintf("run the shards that are missing; {plan status %[1]s} shows how far they are. To make a version without them: {commit %[1]s --partial}", missing.Plan)
	case errors.As(err, &shard) && errors.Is(err, plans.ErrSourceChanged):
		return fmt.Sprintf("make a version of the shards that are finished with {commit %[1]s --partial}, end the plan with {plan give-up %[1]s}, and make another one, which sends only what that version does not have", shard.Plan)
	case errors.Is(err, plans.ErrNoPlan):
		return "compare the name with what plan has printed, and the vault with {config}; a plan that was committed or given up is deleted by gc"
	case errors.As(err, &open):
		return fmt.Sprintf("{plan status %[1]s/%[2]s} shows how far it is. Commit it with {commit %[1]s/%[2]s}, or end it with {plan give-up %[1]s/%[2]s}", open.Dataset, open.Plan)
	}
	return ""
}

// hint says what to do next about an error. It returns "" if the error itself says so.
// Text in braces is a command, without the name of the program.
func hint(err error) string {
	var noKey *envelope.NoKeyError
	var related *awskms.RelatedError
	var busy *dataset.BusyError
	var damaged *dataset.DamagedError
	var pack *dataset.DamagedPackError
	var partial *partialError
	var untrusted *dataset.UntrustedError
	var rollback *dataset.RollbackError
	var leftover *folder.LeftoverError
	switch {
	case errors.As(err, &partial):
		return partial.hint
	case errors.As(err, &untrusted):
		return "do not use this version, and ask the dataset's owner, not through the vault, which signers and which digest are right. " +
			"If this one is: {trust forget DATASET}; if it is not, an owner removes it: {rm DATASET@N --damaged}"
	case errors.As(err, &rollback):
		return "do not use this data: the vault was rolled back, or its newest version was removed. If its owner says that this was meant: {trust forget DATASET}"
	case errors.As(err, &damaged):
		return damagedHint(damaged)
	case errors.As(err, &pack):
		return "do not use this data. {verify DATASET} shows which packs are damaged, and how to upload their contents again"
	case errors.As(err, &related):
		return "to let the key of one Region open what its replica in another Region wrapped, add to vaultpack.yaml: kms_related: true"
	case errors.As(err, &noKey):
		return "set the right key (--local-key, --kms-key, --identity or --passphrase-file), or restore it from its backup; if it is the right key, the keyring was changed"
	case errors.As(err, &leftover):
		return "wait for it to end; if no restore is running, on any machine: rm -rf " + quoted(leftover.Path)
	case planHint(err) != "":
		return planHint(err)
	case errors.As(err, &busy) && busy.Dead:
		return "run that upload again and let it finish, or wait until its records are older than --grace; --end-uploads removes them now"
	case errors.Is(err, dataset.ErrBusy):
		return "wait for it to end. If it was killed, run it again, or wait until 15 minutes after its last sign of life. --end-uploads does not wait and makes it fail"
	case errors.Is(err, dataset.ErrMissing):
		return "it was removed from the vault; restore the vault from a backup, or read another version (see: {versions DATASET})"
	case errors.Is(err, provenance.ErrNoStatement):
		return "without a statement, nobody can tell which data it was made from, or whether it was replaced. The statement is in the model.tar.gz that the job stored, " +
			"and in what that is unpacked to; a job that is started with --no-provenance makes none"
	case errors.Is(err, envelope.ErrAuthentication):
		return "do not use this data. Compare the key and the encryption context with the vault's owner ({config}); " +
			"if they are right, the vault was changed: restore it from a backup, or read another version (see: {versions DATASET})"
	case errors.Is(err, dataset.ErrUnknownDataset):
		return "{ls} lists the datasets in the vault; {config} shows which vault that is"
	case errors.Is(err, dataset.ErrUnknownVersion):
		return "{versions DATASET} lists the versions; if this one existed, it was removed from the vault"
	case errors.Is(err, dataset.ErrNoEntry):
		return "{ls DATASET} lists its files"
	case errors.Is(err, vault.ErrNoVault):
		return "{config} shows where the setting comes from; {init} creates a vault there"
	}
	return machineHint(err)
}

// machineHint is hint for errors of this machine, of the network and of files.
func machineHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space and run the same command again; finished work is kept"
	case isNetwork(err):
		return "check the network and the endpoint, then run the same command again; finished work is kept"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only; mount it for writing or use another place"
	case errors.Is(err, fs.ErrPermission) && isLocal(err): // services themselves say what is missing
		return "give this user read and write permission there"
	case errors.Is(err, envelope.ErrFormat):
		return "{inspect FILE} shows what a sealed file is, and decrypt opens it"
	}
	return ""
}
