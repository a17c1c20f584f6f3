package view

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Journal is a file that tells the next process which containers are
// registered, and under which numbers: node ids are made of these, and mean the
// same in every process. It belongs on a tmpfs such as /run.
//
// After a line that names the version, each line is JSON: a container as last
// known, or the number of a view that ended. The last line of a number counts,
// and one that is cut short, by a kill or a full file system, does not.
type Journal struct {
	name string
	head journalHead
	file *os.File
	size int64 // written
	room int64 // given to the file
	tidy int64 // the size at which the file is written anew
	live map[uint32]journalLine
	// gone are the numbers of ended views, by slot.
	gone map[uint32]uint32
	last error // of the last write, to tell of a change
}

const (
	journalVersion = 1
	// journalRoom is asked for ahead, so that a full file system is noticed
	// long before a container is lost: some hundreds of lines.
	journalRoom = 256 << 10
	// firstTidy is far more than the lines of all containers that most nodes have.
	firstTidy  = 1 << 20
	maxJournal = 64 << 20
)

type journalHead struct {
	Version int    `json:"lxcfsNRIContainers"`
	Boot    string `json:"boot"` // boot_id of random(4): process numbers mean nothing after it
}

type journalLine struct {
	Number    uint32        `json:"number"`
	Gone      bool          `json:"gone,omitempty"`
	Container *Container    `json:"container,omitempty"`
	Start     time.Duration `json:"start,omitempty"` // of the init, ns since boot
}

// OpenJournal reads the file, made where it does not exist, and writes it anew
// without what has been overtaken. What can't be understood (another version, no
// journal) is an error, with the file untouched.
func OpenJournal(name string) (*Journal, error) {
	j := &Journal{name: name, live: map[uint32]journalLine{}, gone: map[uint32]uint32{}}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("keep the list of containers: %w", err)
	}
	j.head = journalHead{Version: journalVersion, Boot: strings.TrimSpace(string(boot))}
	if err := j.read(j.head); err != nil {
		return nil, fmt.Errorf("keep the list of containers in %s: %w", name, err)
	}
	if err := j.rewrite(); err != nil {
		if err := j.goOn(err); err != nil {
			return nil, fmt.Errorf("keep the list of containers in %s: %w", name, err)
		}
	}
	return j, nil
}

func (j *Journal) read(head journalHead) error {
	f, err := os.OpenFile(j.name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(errors.New("it is not a regular file: remove it"), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxJournal+1))
	if err != nil {
		return err
	}
	if len(b) > maxJournal {
		return fmt.Errorf("it has more than %d bytes: remove it", maxJournal)
	}
	return j.parse(b, head)
}

// parse takes in the lines.
func (j *Journal) parse(b []byte, head journalHead) error {
	first, rest, whole := bytes.Cut(b, []byte("\n"))
	if !whole {
		return nil // killed before there was anything to know
	}
	var found journalHead
	if err := json.Unmarshal(first, &found); err != nil || found.Version == 0 {
		return errors.New("it is no list of containers: remove it")
	}
	if found.Version != head.Version {
		return fmt.Errorf("it is of version %d, this program knows %d: it is begun anew when removed", found.Version, head.Version)
	}
	if found.Boot != head.Boot {
		return nil
	}
	for len(rest) > 0 {
		var line []byte
		if line, rest, whole = bytes.Cut(rest, []byte("\n")); !whole {
			break
		}
		var l journalLine
		if json.Unmarshal(line, &l) != nil || l.Number == 0 || l.Number >= MaxNumber || l.Number%slots == 0 {
			continue // cut short by an earlier kill, and gone on after it
		}
		j.note(l)
	}
	return nil
}

func (j *Journal) note(l journalLine) {
	if l.Gone || l.Container == nil {
		delete(j.live, l.Number)
		j.gone[l.Number%slots] = l.Number
		return
	}
	if CheckID(l.Container.ID) == nil {
		j.live[l.Number] = l
		delete(j.gone, l.Number%slots)
	}
}

// rewrite writes a file that holds only what counts, in the place of the old one.
// Where that can't be done the old one stays.
func (j *Journal) rewrite() error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	err := e.Encode(j.head)
	for _, l := range j.live {
		err = errors.Join(err, e.Encode(l))
	}
	for _, n := range j.gone {
		err = errors.Join(err, e.Encode(journalLine{Number: n, Gone: true}))
	}
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(j.name), ".containers-")
	if err != nil {
		return err
	}
	if _, err = f.Write(b.Bytes()); err == nil {
		err = os.Rename(f.Name(), j.name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.last, j.size, j.room = f, nil, int64(b.Len()), int64(b.Len())
	j.tidy = max(firstTidy, 4*j.size)
	return nil
}

// goOn appends to the old file, where a new one could not be written.
func (j *Journal) goOn(why error) error {
	f, err := os.OpenFile(j.name, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return why
	}
	j.file, j.last = f, why // its last line may be cut short
	j.size, err = f.Seek(0, io.SeekEnd)
	j.room, j.tidy = j.size, max(firstTidy, 2*j.size)
	return err
}

// write appends a line. It is one write: a kill leaves it whole or out. Now and
// then what has been overtaken is left out of the file.
func (j *Journal) write(l journalLine) error {
	if j == nil {
		return nil
	}
	j.note(l)
	if j.size >= j.tidy {
		if j.rewrite() == nil {
			return nil
		}
		j.tidy = 2 * j.size
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if j.last != nil {
		b = slices.Insert(b, 0, '\n') // the one before may have been cut short
	}
	if j.size+int64(len(b)) > j.room-journalRoom/2 {
		// Room that can't be had yet is missed when it is written to.
		if unix.Fallocate(int(j.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, j.size, journalRoom) == nil {
			j.room = j.size + journalRoom
		}
	}
	n, err := j.file.WriteAt(b, j.size)
	j.size += int64(n)
	j.last = err
	return err
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
