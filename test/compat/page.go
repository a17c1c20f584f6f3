package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// write puts the tables between the page's marks.
func write(page string, runs ...Run) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text := string(b)
	parts := map[string]string{
		"machines": machines(runs), "trees": trees(runs),
		string(quota): shown(quota, runs), string(cpuset): shown(cpuset, runs), string(load): shown(load, runs),
	}
	for name, part := range parts {
		begin, end := fmt.Sprintf("<!-- made by make compat: %s -->\n", name), "<!-- end -->"
		before, rest, ok := strings.Cut(text, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			return fmt.Errorf("%s: no place for %s: it begins with the line %q and ends with %q", page, name, begin, end)
		}
		text = before + begin + part + end + after
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

func machines(runs []Run) string {
	var b strings.Builder
	for _, r := range runs {
		fmt.Fprintf(&b, "- cgroup %s: %s\n", r.Cgroups, r.Machine)
	}
	return b.String()
}

// same tells whether two lines are of the same question.
func (s Shown) same(o Shown) bool {
	return s.Program == o.Program && s.Container == o.Container && s.Asks == o.Asks && s.From == o.From && s.Remark == o.Remark
}

// shown is the table of one container.
func shown(k kind, runs []Run) string {
	var b strings.Builder
	b.WriteString("| program | asked for | has it from |")
	for _, r := range runs {
		fmt.Fprintf(&b, " cgroup %s |", r.Cgroups)
	}
	fmt.Fprintf(&b, " shows |\n|---|---|---|%s---|\n", strings.Repeat("---:|", len(runs)))
	last := ""
	for _, s := range runs[0].Shown {
		if s.Container != string(k) {
			continue
		}
		program := strings.ReplaceAll(s.Program, "*", `\*`) + " " + s.Version
		if program == last {
			program = ""
		} else {
			last = program
		}
		fmt.Fprintf(&b, "| %s | %s | %s |", program, s.Asks, strings.ReplaceAll(s.From, "*", `\*`))
		for _, r := range runs {
			value := "–"
			if i := slices.IndexFunc(r.Shown, s.same); i >= 0 {
				value = r.Shown[i].Value
			}
			fmt.Fprintf(&b, " %s |", value)
		}
		whose := s.Whose
		if whose != string(container) {
			whose = "**" + whose + "**"
		}
		if s.Remark != "" {
			whose += ": " + s.Remark
		}
		fmt.Fprintf(&b, " %s |\n", whose)
	}
	return b.String()
}

// trees is what the conformance check has found.
func trees(runs []Run) string {
	var b strings.Builder
	b.WriteString("| files of |")
	for _, r := range runs {
		fmt.Fprintf(&b, " cgroup %s |", r.Cgroups)
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---|", len(runs)))
	for i, tree := range runs[0].Trees {
		fmt.Fprintf(&b, "| %s |", tree.Name)
		for _, r := range runs {
			fmt.Fprintf(&b, " %d findings in %s files |", len(r.Trees[i].Findings), r.Trees[i].Checked)
		}
		b.WriteString("\n")
	}
	for i, tree := range runs[0].Trees {
		b.WriteString(absent(tree.Name, i, runs))
		for _, r := range runs {
			if all := r.Trees[i].Findings; len(all) > 0 {
				fmt.Fprintf(&b, "\n%s, cgroup %s:\n\n```\n%s```\n", tree.Name, r.Cgroups, findings(all))
			}
		}
	}
	return b.String()
}

// absent tells which files a tree does not have; runs that agree are told of once.
func absent(name string, tree int, runs []Run) string {
	var said []string
	for _, r := range runs {
		if files := r.Trees[tree].Absent; len(files) > 0 {
			said = append(said, fmt.Sprintf("\n%s does not have %s.\n", name, strings.Join(files, ", ")))
		}
	}
	return strings.Join(slices.Compact(said), "")
}

// findings puts the files first of which the same was found.
func findings(all []string) string {
	var texts []string
	files := map[string][]string{}
	for _, f := range all {
		file, text, _ := strings.Cut(f, ": ")
		if files[text] == nil {
			texts = append(texts, text)
		}
		files[text] = append(files[text], file)
	}
	var b strings.Builder
	for _, text := range texts {
		fmt.Fprintf(&b, "%s: %s\n", strings.Join(files[text], ", "), text)
	}
	return b.String()
}
