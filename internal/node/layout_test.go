package node

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const top = "../../"

// The image has what is installed from it, and each of it comes from the same file
// and goes to the same path as the packages'.
func TestOneLayout(t *testing.T) {
	image := copied(t)
	packages := packaged(t)
	var got []string
	for to, from := range image {
		got = append(got, to)
		if want := packages[to]; from != want {
			t.Errorf("%s is made from %s in the image, and from %q in the packages", to, from, want)
		}
	}
	want := slices.Sorted(slices.Values(Files))
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the image has is not what is installed (-installed +image):\n%s", diff)
	}
}

// copied is what the Dockerfile copies, by its path in the image.
func copied(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(top + "packaging/image/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]string{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		switch words := strings.Fields(sc.Text()); {
		case len(words) == 0:
		case words[0] == "COPY" && len(words) == 3:
			all[words[2]] = words[1]
		case words[0] == "FROM" && words[1] != "scratch", words[0] == "RUN", words[0] == "ADD", words[0] == "COPY":
			t.Errorf("the image is to have nothing but files of ours: %s", sc.Text())
		}
	}
	return all
}

// packaged is what the packages install, by its path.
func packaged(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(top + "packaging/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var nfpm struct {
		Contents []struct{ Src, Dst string } `yaml:"contents"`
	}
	if err := yaml.Unmarshal(b, &nfpm); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, c := range nfpm.Contents {
		all[c.Dst] = strings.ReplaceAll(c.Src, "${ARCH}", "${TARGETARCH}")
	}
	return all
}
