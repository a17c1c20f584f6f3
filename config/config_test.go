package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// knownFiles stands for the table of files, which is another package's.
var knownFiles = []string{"proc/meminfo", "proc/cpuinfo", "proc/stat", "sys/devices/system/cpu/online"}

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	if err := c.Validate(knownFiles); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("Validate changed the default to %+v", c)
	}
}

func TestServes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files Files
		path  string
		want  bool
	}{
		{"all by default", Files{}, "proc/meminfo", true},
		{"leading slash", Files{Exclude: []string{"proc/meminfo"}}, "/proc/meminfo", false},
		{"included", Files{Include: []string{"proc/meminfo"}}, "proc/meminfo", true},
		{"not included", Files{Include: []string{"proc/meminfo"}}, "proc/stat", false},
		{"excluded", Files{Exclude: []string{"proc/stat"}}, "proc/stat", false},
		{"not excluded", Files{Exclude: []string{"proc/stat"}}, "proc/meminfo", true},
		{"exclude wins", Files{Include: []string{"proc/stat"}, Exclude: []string{"proc/stat"}}, "proc/stat", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.files.Serves(tt.path); got != tt.want {
				t.Errorf("Serves(%q) = %v, want %v", tt.path, got, tt.want)
			}
		})
	}
}

// The settings table must reach every exported field, and each only once.
func TestSettingsCoverConfig(t *testing.T) {
	var c Config
	reached := map[any]string{}
	for _, s := range settings {
		at := s.at(&c)
		if other, ok := reached[at]; ok {
			t.Errorf("%s and %s set the same field", s.key, other)
		}
		reached[at] = s.key
	}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name := path + "." + field.Name
			switch {
			case !field.IsExported():
			case field.Type.Kind() == reflect.Struct:
				walk(name, v.Field(i))
			case reached[v.Field(i).Addr().Interface()] == "":
				t.Errorf("no key sets Config%s", name)
			}
		}
	}
	walk("", reflect.ValueOf(&c).Elem())
}

const sample = "../packaging/config.yaml"

// The sample as it is installed changes nothing.
func TestSampleIsTheDefault(t *testing.T) {
	got, err := Load(sample, knownFiles)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, Default()) {
		t.Errorf("got %+v, want the default", got)
	}
}

// With every key un-commented, the sample shows the defaults, all of them.
func TestSampleShowsEveryDefault(t *testing.T) {
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	// "# " begins an explanation at the top level, "#" alone a key or what
	// stands below it.
	src := regexp.MustCompile(`(?m)^#(\S|  )`).ReplaceAll(text, []byte("$1"))

	got, err := load("sample", src, knownFiles)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, Default()) {
		t.Errorf("got %+v, want %+v", got, Default())
	}

	lines, _ := decode(src, &got)
	explained := strings.Split(string(text), "\n")
	for _, s := range settings {
		switch n := lines[s.key]; {
		case n == 0:
			t.Errorf("%s is missing", s.key)
		case !strings.Contains(explained[n-2], "# "):
			t.Errorf("%s has no explanation in the line above", s.key)
		}
	}
}
