package trainer

import (
	"fmt"
	"unicode/utf8"
)

// openScript starts vaultpack in the container. It trusts nothing in the channel: the binary runs only
// if a private copy of it has the SHA-256 given as the first argument. The script runs the copy with
// --version before the exec, so that a binary of the wrong architecture is reported too. SageMaker is
// documented to keep the folders of a manifest; if it does not, the file is at the top of the channel.
// The trap is there because the shell is process 1, which the kernel spares a SIGTERM that it does not
// handle: a job that was stopped this early would train until SageMaker kills it.
const openScript = `trap exit\ 143 15;m=/opt/ml;d=$m/input/data/vaultpack;t=$(mktemp);cat $d/_*/bin/$1/v* $d/vaultpack>$t 2>/dev/null;echo "$1  $t"|sha256sum -c>&2&&chmod 700 $t&&$t -v>&2&&shift&&exec $t "$@";echo vaultpack: binary missing or bad|tee $m/output/failure;exit 1`

// codeScript lets the command start only if the source is the one that was sent. It
// runs after sagemaker-run and before the image's own command.
const codeScript = `trap exit\ 143 15;f=/opt/ml/input/data/code/sourcedir.tar.gz;echo "$0  $f"|sha256sum -c >&2&&exec "$@";echo "vaultpack: $f is missing, or was changed in S3"|tee /opt/ml/output/failure;exit 1`

// openProcessing and codeProcessing do the same in processing jobs, whose inputs are
// elsewhere and whose source nothing else unpacks: the command starts in the
// source's folder.
const (
	openProcessing = `trap exit\ 143 15;d=/opt/ml/processing/input/vaultpack;t=$(mktemp);cat $d/_*/bin/$1/v* $d/vaultpack>$t 2>&-;echo "$1  $t"|sha256sum -c>&2&&chmod 700 $t&&$t -v>&2&&shift&&exec $t "$@";echo vaultpack: binary missing or bad|tee /opt/ml/output/message;exit 1`
	codeProcessing = `trap exit\ 143 15;cd /opt/ml/processing/input/code&&echo "$0  sourcedir.tar.gz"|sha256sum -c >&2&&tar -xzf sourcedir.tar.gz&&exec "$@";echo "vaultpack: the source is missing, or was changed in S3"|tee /opt/ml/output/message;exit 1`
)

// An inside is what differs between the containers of the two kinds of jobs.
type inside struct {
	code  string              // the script that checks the source
	flags func(*Job) []string // of sagemaker-run
}

var (
	inTraining   = inside{codeScript, func(*Job) []string { return nil }}
	inProcessing = inside{codeProcessing, processingFlags}
)

// arguments returns ContainerArguments: the digest for the script, the flags of
// sagemaker-run, and the command.
func arguments(binary string, flags, command []string) []string {
	args := append([]string{binary, "sagemaker-run"}, flags...)
	return append(append(args, "--"), command...)
}

func checkArguments(args []string) error {
	if len(args) > maxArguments {
		return fmt.Errorf("the container takes %d arguments, the limit is %d; put a longer command into a script of the image or of the source", len(args), maxArguments)
	}
	for _, a := range args {
		if n := utf8.RuneCountInString(a); n > maxArgument {
			return fmt.Errorf("the container argument %.40q… has %d characters, the limit is %d; shorten it (a pair of the encryption context, or an argument of the command)", a, n, maxArgument)
		}
	}
	return nil
}
