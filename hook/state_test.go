package hook

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

const podmanState = `{"ociVersion":"1.0.2-dev","id":"76b9bb285a3d","status":"creating","pid":6554,"bundle":"/b/userdata",` +
	`"annotations":{"io.container.manager":"libpod","lxcfs.nri.io/inject":"true"},"fds":[]}`

func TestReadState(t *testing.T) {
	s, err := readState(strings.NewReader(podmanState))
	if err != nil || s.ID != "76b9bb285a3d" || s.PID != 6554 || s.Bundle != "/b/userdata" || len(s.Annotations) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := readState(strings.NewReader(`{"ociVersion":"1.0.2","id":"a","status":"stopped"}`)); err != nil {
		t.Errorf("a container that has ended: %v", err)
	}
	with := func(old, new string) string { return strings.Replace(podmanState, old, new, 1) }
	for in, says := range map[string]string{
		"":                                  "JSON",
		"{}":                                "container id of 0 bytes",
		podmanState + "{}":                  "after top-level value",
		podmanState[1:]:                     "invalid character",
		with("76b9bb285a3d", "../etc"):      `begins with "."`,
		with("1.0.2-dev", "2.0"):            "1.x is known",
		with("creating", "gone"):            "stopped is possible",
		with("6554", "-1"):                  "pid is -1",
		with("6554", `"6554"`):              "cannot unmarshal",
		with("6554", "1e30"):                "cannot unmarshal",
		with("/b/userdata", "b/userdata"):   "clean absolute path",
		with("/b/userdata", "/b/../etc"):    "clean absolute path",
		with("/b/userdata", "/"):            "clean absolute path",
		with("/b/userdata", `/b\u0000`):     "clean absolute path",
		with(`"true"`, "true"):              "cannot unmarshal",
		strings.Repeat(" ", maxState) + " ": "more than",
	} {
		if s, err := readState(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80q: %+v, %v, want %q", in, s, err, says)
		}
	}
}

func TestParseSpec(t *testing.T) {
	for in, want := range map[string]string{
		`{"root":{"path":"rootfs","readonly":true}}`: "/b/rootfs",
		`{"root":{"path":"/r/merged"}}`:              "/r/merged",
		`{"root":{"path":"../other"}}`:               "/other",
		`{"root":{"path":"a//b/./c"}}`:               "/b/a/b/c",
	} {
		if s, err := parseSpec([]byte(in), "/b"); err != nil || s.Root.Path != want || !s.hostPID() {
			t.Errorf("%s: %+v, %v, want %s", in, s, err, want)
		}
	}
	s, err := parseSpec([]byte(`{"root":{"path":"r"},"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}`), "/b")
	if err != nil || s.hostPID() {
		t.Errorf("%+v, %v", s, err)
	}
	for in, says := range map[string]string{
		``: "JSON", `{}`: errNoRoot.Error(), `{"root":{"path":""}}`: errNoRoot.Error(), `[]`: "cannot unmarshal",
		`{"root":{"path":"/"}}`: "can't be", `{"root":{"path":".."}}`: "can't be", `{"root":{"path":"a\u0000"}}`: "can't be",
		strings.Repeat(" ", maxSpec+1): "more than",
	} {
		if s, err := parseSpec([]byte(in), "/b"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80q: %+v, %v, want %q", in, s, err, says)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(podmanState))
	f.Add([]byte(`{"ociVersion":"1.0","id":"a","status":"stopped"}`))
	f.Add([]byte(`{"ID":"a","annotations":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s state
		if s.parse(b) != nil {
			return
		}
		if view.CheckID(s.ID) != nil || s.PID < 0 || s.Status != stopped && !clean(s.Bundle) {
			t.Errorf("%q is taken for %+v", b, s)
		}
	})
}

func FuzzSpec(f *testing.F) {
	for _, s := range []string{`{"root":{"path":"rootfs"}}`, `{"root":{"path":"/a/../../b"}}`, `{"root":null,"linux":{"namespaces":[{}]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSpec(b, "/run/bundle"); err == nil && !clean(s.Root.Path) {
			t.Errorf("%q: %+v", b, s)
		}
	})
}

func TestKnown(t *testing.T) {
	got := fmt.Sprint(known(map[string]string{
		"lxcfs.nri.io/inject": "true", "inject.lxcfs.nri.io/container.web": "false", "lxcfs-admission-webhook.aliyun.com/mutate": "no",
		AnnotationNamespace: "shop", AnnotationPod: "web-0", AnnotationContainer: "web", AnnotationHandler: "kata", AnnotationType: "container",
		"io.kubernetes.cri-o.Volumes": "[]", "org.opencontainers.image.stopSignal": "15",
	}))
	if strings.Count(got, ":") != 8 || strings.Contains(got, "Volumes") || strings.Contains(got, "stopSignal") {
		t.Error(got)
	}
}

// TestSplit: what CRI-O does not list as the container's own is its pod's.
func TestSplit(t *testing.T) {
	for _, c := range []struct {
		listed   string
		pod, own int
	}{
		{`{"a":"1"}`, 2, 1},
		{`{}`, 3, 0},
		{`null`, 3, 0},
		{`{"c":"3"}`, 3, 1},
		{``, 3, 0},
		{`{"a":`, 3, 0},
		{`["a"]`, 3, 0},
		{`{"a":1}`, 3, 0},
		{`{"a":"1","b":{}}`, 3, 0},
	} {
		all := map[string]string{"a": "1", "b": "2", AnnotationOwn: c.listed}
		if pod, own := Split(all); len(pod) != c.pod || len(own) != c.own || len(all) != 3 {
			t.Errorf("%s: pod %v, own %v", c.listed, pod, own)
		}
	}
	// Only what matters is sent.
	sent := known(map[string]string{AnnotationOwn: `{"lxcfs.nri.io/inject":"true","large":"` + strings.Repeat("x", MaxRequest) + `"}`})
	if fmt.Sprint(sent) != "map["+AnnotationOwn+`:{"lxcfs.nri.io/inject":"true"}]` {
		t.Errorf("%.200s", fmt.Sprint(sent))
	}
}

// FuzzSplit: each annotation is the pod's or the container's own, whatever is listed.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{`{"a":"1"}`, `{"a":"2","x":"3"}`, `null`, `{`, `{"a":1}`, `[]`, `""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, listed string) {
		all := map[string]string{"a": "1", "lxcfs.nri.io/inject": "true", AnnotationOwn: listed}
		pod, own := Split(all)
		for key, value := range all {
			_, isOwn := own[key]
			if got, isPods := pod[key]; isPods == isOwn || isPods && got != value {
				t.Errorf("%q: %s: pod %q, own %q", listed, key, pod, own)
			}
		}
		sentPod, sentOwn := Split(known(all))
		for _, key := range []string{"lxcfs.nri.io/inject", "lxcfs"} {
			if sentPod[key] != pod[key] || sentOwn[key] != own[key] {
				t.Errorf("%q: %s: the daemon is told pod %q, own %q, not %q, %q", listed, key, sentPod, sentOwn, pod, own)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"HTTP/1.0 200 OK\r\n\r\n{\"inject\":true,\"mounts\":9}", "HTTP/1.1 500 x\r\nA: b\r\n\r\n{\"error\":\"e\"}", "HTTP/1.0 404\r\n\r\nnot found", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := parseAnswer(b); err == nil && (a.Error != "" || !strings.Contains(string(b), " 200")) {
			t.Errorf("%q: %+v", b, a)
		}
	})
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"id":"a","pid":1,"rootfs":"/r"}`, `{"id":"a","gone":true}`, `{"id":"a","rootfs":"/r","annotations":{"a":"b"}}`,
		`{"id":"a","rootfs":"/"}`, `{"id":"a","gone":true,"pid":1}`, `{"id":".."}`, `{"id":"a","gone":true}{}`, `{"id":"a","gone":true,"x":1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		req, err := Decode(strings.NewReader(s))
		if err != nil {
			return
		}
		if view.CheckID(req.ID) != nil || req.PID < 0 || req.Gone == clean(req.Rootfs) {
			t.Errorf("%q is taken for %+v", s, req)
		}
		b, err := frame(req)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(b), "\r\n\r\n")
		if again, err := Decode(strings.NewReader(body)); err != nil || fmt.Sprintf("%#v", again.Annotations) != fmt.Sprintf("%#v", req.Annotations) && len(req.Annotations) > 0 {
			t.Errorf("%q: %+v, %v, want %+v", body, again, err, req)
		}
	})
}

func TestParseAnswer(t *testing.T) {
	a, err := parseAnswer([]byte("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"inject\":true,\"mounts\":9}\n"))
	if err != nil || !a.Inject || a.Mounts != 9 {
		t.Errorf("%+v, %v", a, err)
	}
	for in, says := range map[string]string{
		"": "can't be read", "HTTP/1.0 200 OK\r\n": "can't be read", "SSH-2.0\r\n\r\n{}": "can't be read",
		"HTTP/1.0 404 Not Found\r\n\r\n404 page not found": "older version",
		"HTTP/1.0 500 x\r\n\r\n{\"error\":\"the disk\"}":   "the disk",
		"HTTP/1.0 500 x\r\n\r\n{}":                         "answers",
	} {
		if a, err := parseAnswer([]byte(in)); err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, errNoDaemon) {
			t.Errorf("%q: %+v, %v, want %q", in, a, err, says)
		}
	}
}
