package config

import (
	"fmt"
	"path"

	"k8s.io/apimachinery/pkg/labels"
)

// Policy says which containers get the files.
type Policy struct {
	// Inject is what happens when nothing else decides.
	Inject bool
	// Namespaces chooses by Kubernetes namespace.
	Namespaces Namespaces
	// PodSelector is a Kubernetes label selector that a pod must match; empty
	// matches all.
	PodSelector string
	// SkipRuntimeHandlers lists the runtime handlers, as patterns of
	// path.Match, whose containers have a kernel of their own.
	SkipRuntimeHandlers []string
	// SkipHostPID leaves containers alone that share the host's PID
	// namespace: they ask to see the host.
	SkipHostPID bool
	// WebhookAnnotations honours the opt-outs of the admission webhooks that
	// did this job before.
	WebhookAnnotations bool

	// selector is PodSelector, parsed by Config.Validate; nil if it is empty.
	selector labels.Selector
}

// Namespaces chooses by Kubernetes namespace: names, or patterns of path.Match.
//
// Containers of plain Docker or podman have no namespace. No pattern matches
// them, not even *; the entry "" does.
type Namespaces struct {
	// Include lists the namespaces whose containers get the files; empty
	// means all, those without a namespace among them.
	Include []string
	// Exclude lists the namespaces whose containers don't, and wins.
	Exclude []string
}

// Target is a container to be decided on, as its runtime describes it.
type Target struct {
	Namespace, Pod, Container string
	PodLabels                 map[string]string
	PodAnnotations            map[string]string
	ContainerAnnotations      map[string]string
	RuntimeHandler            string
	HostPID                   bool // shares the host's PID namespace
}

// Decision is the answer for one container.
type Decision struct {
	Inject bool
	// Reason names what decided, in a few words for log and status.
	Reason string
	// Warnings are for the log: annotations that could not be followed.
	Warnings []string
}

// Decide says whether a container gets the files. The first of these that
// applies decides:
//
//  1. A runtime handler in SkipRuntimeHandlers: left alone, whatever else is
//     said. Such a runtime has a kernel of its own that tells the truth, and
//     our mounts could keep the container from starting.
//  2. Our annotations with the value true or false, the most specific first:
//     the pod's for this container, the container's own, the pod's with the
//     suffix /pod, the pod's without (see ranks). Any other value is ignored
//     with a warning. An annotation that container and pod have with the same
//     value is the pod's.
//  3. An opt-out of the former webhooks on the container or the pod, if
//     WebhookAnnotations is set: left alone.
//  4. The host's PID namespace, if SkipHostPID is set: left alone.
//  5. Namespaces: left alone if excluded, or not included.
//  6. PodSelector: left alone if the pod's labels don't match.
//  7. Inject.
func (p *Policy) Decide(t Target) Decision {
	if pattern, ok := match(p.SkipRuntimeHandlers, t.RuntimeHandler); ok {
		return Decision{Reason: fmt.Sprintf("runtime handler %s is skipped (policy.skipRuntimeHandlers: %s)", show(t.RuntimeHandler), show(pattern))}
	}
	t.ContainerAnnotations = ownAnnotations(&t)
	d, decided := annotated(t)
	if !decided {
		d.Inject, d.Reason = p.rule(t)
	}
	return d
}

// rule decides without our annotations: steps 3 to 7.
func (p *Policy) rule(t Target) (inject bool, reason string) {
	if p.WebhookAnnotations {
		if reason := webhookOptOut(t); reason != "" {
			return false, reason
		}
	}
	if p.SkipHostPID && t.HostPID {
		return false, "shares the host's PID namespace (policy.skipHostPID)"
	}
	if reason := p.Namespaces.refuse(t.Namespace); reason != "" {
		return false, reason
	}
	if reason := p.refuseLabels(t.PodLabels); reason != "" {
		return false, reason
	}
	if p.Inject {
		return true, "nothing excludes it (policy.inject is true)"
	}
	return false, "nothing asks for it (policy.inject is false)"
}

// refuse is why a namespace is left alone, or "".
func (n *Namespaces) refuse(namespace string) string {
	name := "namespace " + show(namespace)
	if namespace == "" {
		name = "a container without a namespace"
	}
	if pattern, ok := matchNamespace(n.Exclude, namespace); ok {
		if pattern == namespace {
			return name + " is excluded (policy.namespaces.exclude)"
		}
		return fmt.Sprintf("%s is excluded (policy.namespaces.exclude: %s)", name, show(pattern))
	}
	if _, ok := matchNamespace(n.Include, namespace); !ok && len(n.Include) > 0 {
		return name + " is not included (policy.namespaces.include)"
	}
	return ""
}

// refuseLabels is why a pod of these labels is left alone, or "".
func (p *Policy) refuseLabels(podLabels map[string]string) string {
	if p.PodSelector == "" {
		return ""
	}
	selector := p.selector
	if selector == nil {
		// A Policy that nobody validated: better slow than wrong.
		parsed, err := labels.Parse(p.PodSelector)
		if err != nil {
			return "policy.podSelector is no label selector"
		}
		selector = parsed
	}
	if selector.Matches(labels.Set(podLabels)) {
		return ""
	}
	return fmt.Sprintf("the pod's labels do not match %s (policy.podSelector)", quote(p.PodSelector))
}

// match is the first pattern that matches name. A malformed pattern, which
// Config.Validate refuses, matches nothing.
func match(patterns []string, name string) (string, bool) {
	for _, pattern := range patterns {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return pattern, true
		}
	}
	return "", false
}

// matchNamespace is match, but that only "" matches the lack of a namespace:
// who writes * thinks of Kubernetes.
func matchNamespace(patterns []string, namespace string) (string, bool) {
	if namespace != "" {
		return match(patterns, namespace)
	}
	for _, pattern := range patterns {
		if pattern == "" {
			return pattern, true
		}
	}
	return "", false
}
