package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Request is what the daemon is asked: to give a container its files, or to
// forget it.
type Request struct {
	ID string `json:"id"`
	// PID is the container's init; 0: who asks has the container's mount
	// namespace, and its PID namespace perhaps, where numbers are others.
	PID int `json:"pid,omitempty"`
	// Rootfs is the directory of the container's mount namespace that will be its root.
	Rootfs string `json:"rootfs,omitempty"`
	// Annotations are the container's, those that the policy knows.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Gone says that the container has ended.
	Gone bool `json:"gone,omitempty"`
}

// Answer is what the daemon did.
type Answer struct {
	// Inject is the policy's decision, for which Reason names the rule.
	Inject bool   `json:"inject"`
	Reason string `json:"reason,omitempty"`
	Mounts int    `json:"mounts"` // made
	Error  string `json:"error,omitempty"`
}

const (
	// MaxRequest bounds a request.
	MaxRequest = 1 << 20
	maxAnswer  = 64 << 10
)

// DecodeStrictly reads one JSON object that has no other fields than to, and that
// nothing follows.
func DecodeStrictly(r io.Reader, to any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// Decode reads a request that says what is to be done, and nothing else.
func Decode(r io.Reader) (Request, error) {
	var req Request
	if err := DecodeStrictly(r, &req); err != nil {
		return req, fmt.Errorf("request: %w", err)
	}
	if err := view.CheckID(req.ID); err != nil {
		return req, fmt.Errorf("request: %w", err)
	}
	switch {
	case req.PID < 0:
		return req, fmt.Errorf("request: pid is %d", req.PID)
	case req.Gone && (req.PID != 0 || req.Rootfs != ""):
		return req, errors.New("request: a container that is gone has neither pid nor rootfs")
	case !req.Gone && !clean(req.Rootfs):
		return req, fmt.Errorf("request: rootfs is %.300q: not a clean absolute path", req.Rootfs)
	}
	return req, nil
}

// known returns the annotations to send to the daemon: those that the policy reads,
// and what CRI-O says of a container's pod.
func known(annotations map[string]string) map[string]string {
	all := relevant(annotations)
	if _, own := Split(annotations); own != nil {
		if b, err := json.Marshal(relevant(own)); err == nil {
			all[AnnotationOwn] = string(b)
		}
	}
	return all
}

func relevant(annotations map[string]string) map[string]string {
	all := map[string]string{}
	for key, value := range annotations {
		if strings.Contains(key, "lxcfs") || strings.HasPrefix(key, "io.kubernetes.pod.") || criO[key] {
			all[key] = value
		}
	}
	return all
}

// Annotations that CRI-O gives containers (pkg/annotations in its sources).
const (
	AnnotationNamespace = "io.kubernetes.pod.namespace"
	AnnotationPod       = "io.kubernetes.pod.name"
	AnnotationContainer = "io.kubernetes.container.name"
	AnnotationHandler   = "io.kubernetes.cri-o.RuntimeHandler"
	// AnnotationType is "sandbox" or "container".
	AnnotationType = "io.kubernetes.cri-o.ContainerType"
	// AnnotationOwn lists the container's own annotations, as JSON.
	AnnotationOwn = "io.kubernetes.cri-o.Annotations"
)

var criO = map[string]bool{AnnotationContainer: true, AnnotationHandler: true, AnnotationType: true}

// Split returns the annotations of a container's pod, and the container's own. A hook
// is handed one map: CRI-O copies the pod's annotations there, then the container's over
// them, and lists the latter once more in AnnotationOwn (SpecAddAnnotations in its
// internal/factory/container). Without that list all are taken for the pod's, which
// podman kube play copies, too.
func Split(annotations map[string]string) (pod, own map[string]string) {
	if err := json.Unmarshal([]byte(annotations[AnnotationOwn]), &own); err != nil {
		return annotations, nil
	}
	pod = maps.Clone(annotations)
	for key := range own {
		delete(pod, key)
	}
	return pod, own
}

// frame makes an HTTP request. Of HTTP/1.0 the answer ends with the connection.
func frame(req Request) ([]byte, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxRequest {
		return nil, fmt.Errorf("the container's annotations make a request of %d bytes: %d are possible", len(body), MaxRequest)
	}
	return fmt.Appendf(nil, "POST /v1/hook HTTP/1.0\r\nHost: lxcfs-nri\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body), nil
}

// parseAnswer reads the daemon's. One that says no is an error.
func parseAnswer(b []byte) (Answer, error) {
	var a Answer
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok || !bytes.HasPrefix(head, []byte("HTTP/1.")) {
		return a, fmt.Errorf("the daemon's answer can't be read: %.80q", b)
	}
	status, _, _ := strings.Cut(string(head), "\r\n")
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("the daemon's answer (%.80s) can't be read: %w: is it of an older version?", status, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	if !strings.Contains(status, " 200") {
		return a, fmt.Errorf("the daemon answers %.80q", status)
	}
	return a, nil
}
