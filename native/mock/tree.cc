#include "mock/tree.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstring>
#include <vector>

#include "mock/user.h"

namespace vfm::mock {

namespace {

constexpr int kMaxLinks = 40;

std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    if (!part.empty()) parts.emplace_back(part);
    if (slash == path.npos) break;
    path.remove_prefix(slash + 1);
  }
  return parts;
}

// From the directory of `link` to `target`.
std::string Relative(const std::string& link, const std::string& target) {
  std::vector<std::string> from = Split(link), to = Split(target);
  from.pop_back();
  size_t same = 0;
  while (same < from.size() && same < to.size() && from[same] == to[same]) same++;
  std::string out;
  for (size_t i = same; i < from.size(); i++) out += "../";
  for (size_t i = same; i < to.size(); i++) out += to[i] + (i + 1 < to.size() ? "/" : "");
  return out;
}

// An attribute or an ordinary file, read as the kernel reads sysfs: its text is made once, at the first read.
class TextFile : public File {
 public:
  TextFile(Tree& tree, Node& node, int flags) : File(flags), tree_(tree), node_(node) {}
  const char* kind() const override { return "file"; }
  std::string name() const override { return "attribute"; }

  ssize_t Read(Call& call, void* buf, size_t len) override {
    std::lock_guard hold(lock_);
    ssize_t n = ReadAt(call, buf, len, pos_);
    if (n > 0) pos_ += n;
    return n;
  }
  ssize_t Pread(Call& call, void* buf, size_t len, int64_t offset) override {
    std::lock_guard hold(lock_);
    return ReadAt(call, buf, len, offset);
  }
  ssize_t Write(Call&, const void* buf, size_t len) override {
    if (!UserCanRead(buf, len)) return -EFAULT;
    int e = tree_.WriteAll(node_, std::string_view(static_cast<const char*>(buf), len));
    return e != 0 ? e : static_cast<ssize_t>(len);
  }
  ssize_t Pwrite(Call& call, const void* buf, size_t len, int64_t) override { return Write(call, buf, len); }

 private:
  ssize_t ReadAt(Call&, void* buf, size_t len, int64_t offset) {
    if (!filled_ || offset == 0) {
      if (int e = tree_.ReadAll(node_, text_); e != 0) return e;
      filled_ = true;
    }
    if (offset < 0) return -EINVAL;
    auto at = static_cast<size_t>(offset);
    if (at >= text_.size()) return 0;
    size_t n = std::min(len, text_.size() - at);
    if (!UserCanWrite(buf, n)) return -EFAULT;
    memcpy(buf, text_.data() + at, n);
    return static_cast<ssize_t>(n);
  }

  Tree& tree_;
  Node& node_;
  std::mutex lock_;
  std::string text_;
  bool filled_ = false;
  ssize_t pos_ = 0;
};

uint8_t DirentType(const Node& n) {
  switch (n.type) {
    case Node::Type::Directory:
      return DT_DIR;
    case Node::Type::File:
      return DT_REG;
    case Node::Type::Link:
      return DT_LNK;
    case Node::Type::Device:
      return DT_CHR;
  }
  return DT_UNKNOWN;
}

class DirectoryFile : public File {
 public:
  DirectoryFile(Node& node, int flags) : File(flags), node_(node) {
    entries_.push_back({".", &node});
    entries_.push_back({"..", node.parent != nullptr ? node.parent : &node});
    for (auto& [name, child] : node.children) entries_.push_back({name, child.get()});
  }
  const char* kind() const override { return "directory"; }
  std::string name() const override { return "directory"; }
  ssize_t Read(Call&, void*, size_t) override { return -EISDIR; }
  ssize_t Pread(Call&, void*, size_t, int64_t) override { return -EISDIR; }
  Node& node() const { return node_; }

  // Records of struct linux_dirent64: ino u64, off s64, reclen u16, type u8, name.
  ssize_t Getdents(void* buf, size_t len) override {
    static constexpr size_t kHead = 19;
    std::lock_guard hold(lock_);
    if (node_.read_errno != 0) return -node_.read_errno;
    size_t used = 0;
    while (next_ < entries_.size()) {
      const auto& [name, node] = entries_[next_];
      size_t reclen = (kHead + name.size() + 1 + 7) & ~size_t{7};
      if (used + reclen > len) break;
      std::vector<char> record(reclen, 0);
      uint64_t ino = node->ino;
      int64_t off = static_cast<int64_t>(next_ + 1);
      auto reclen16 = static_cast<uint16_t>(reclen);
      uint8_t type = DirentType(*node);
      memcpy(&record[0], &ino, 8);
      memcpy(&record[8], &off, 8);
      memcpy(&record[16], &reclen16, 2);
      memcpy(&record[18], &type, 1);
      memcpy(&record[kHead], name.data(), name.size());
      if (!CopyToUser(reinterpret_cast<uintptr_t>(buf) + used, record.data(), reclen)) return -EFAULT;
      used += reclen;
      next_++;
    }
    if (used == 0 && next_ < entries_.size()) return -EINVAL;
    return static_cast<ssize_t>(used);
  }

 private:
  struct Entry {
    std::string name;
    const Node* node;
  };
  Node& node_;
  std::mutex lock_;
  std::vector<Entry> entries_;
  size_t next_ = 0;
};

}  // namespace

Node* DirectoryNode(const vfm::mock::File* file) {
  auto* d = dynamic_cast<const DirectoryFile*>(file);
  return d == nullptr ? nullptr : &d->node();
}

Tree::Tree() {
  root_.ino = next_ino_++;
  root_.mode = S_IFDIR | 0755;
  root_.parent = &root_;
}

Node& Tree::Make(const std::string& path, Node::Type type, uint32_t mode) {
  Node* at = &root_;
  std::vector<std::string> parts = Split(path);
  for (size_t i = 0; i < parts.size(); i++) {
    if (at->type != Node::Type::Directory)
      throw ScenarioError(path + ": a part of the path is not a directory");
    std::unique_ptr<Node>& child = at->children[parts[i]];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->ino = next_ino_++;
      child->mode = S_IFDIR | 0755;
      child->parent = at;
    }
    at = child.get();
  }
  at->type = type;
  at->mode = mode;
  return *at;
}

Node& Tree::Directory(const std::string& path) {
  return Make(path, Node::Type::Directory, S_IFDIR | 0755);
}

Node& Tree::File(const std::string& path, std::string content, uint32_t mode) {
  Node& n = Make(path, Node::Type::File, S_IFREG | mode);
  n.content = std::move(content);
  return n;
}

Node& Tree::Link(const std::string& path, const std::string& target) {
  Node& n = Make(path, Node::Type::Link, S_IFLNK | 0777);
  n.target = Relative(path, target);
  return n;
}

Node& Tree::CharDevice(const std::string& path, uint64_t rdev, uint32_t mode,
                       std::function<FilePtr(int flags, int& error)> open) {
  Node& n = Make(path, Node::Type::Device, S_IFCHR | mode);
  n.rdev = rdev;
  n.open = std::move(open);
  return n;
}

void Tree::Override(const FileConfig& f) {
  std::string path = Resolve(f.path);
  int error = 0;
  Node* node = Find(nullptr, path, false, error);
  if (f.absent && node != nullptr) return Remove(path);
  if (f.absent) throw ScenarioError("/files: " + f.path + " is absent anyway");
  if (node == nullptr) {
    if (!f.content && !f.link && !f.directory)
      throw ScenarioError("/files: " + f.path + " does not exist; give content, link or directory");
    node = &Make(path, Node::Type::Directory, S_IFDIR | 0755);
  }
  if (f.directory) return;
  if (f.link || f.content) {
    node->type = f.link ? Node::Type::Link : Node::Type::File;
    node->mode = f.link ? S_IFLNK | 0777u : S_IFREG | 0644u;
    node->target = f.link.value_or("");
    node->content = f.content.value_or("");
    node->show = nullptr;
    node->store = nullptr;
  }
  if (f.mode) node->mode = (node->mode & S_IFMT) | *f.mode;
  node->open_errno = f.open_errno;
  node->read_errno = f.read_errno;
  node->write_errno = f.write_errno;
}

std::string Tree::Resolve(const std::string& path) {
  std::shared_lock hold(shape_);
  size_t slash = path.rfind('/');
  // What exists of the directories before the last part.
  for (size_t end = slash; end != path.npos && end > 0; end = path.rfind('/', end - 1)) {
    int error = 0;
    const Node* node = Find(nullptr, std::string_view(path).substr(0, end), true, error);
    if (node != nullptr) return PathOf(*node) + path.substr(end);
  }
  return path;
}

std::string Tree::PathOf(const Node& node) const {
  std::string path;
  for (const Node* n = &node; n != &root_; n = n->parent)
    for (const auto& [name, child] : n->parent->children)
      if (child.get() == n) path = "/" + name + path;
  return path;
}

void Tree::Remove(const std::string& path) {
  int error = 0;
  Node* node = Find(nullptr, path, false, error);
  if (node == nullptr) return;
  auto& siblings = node->parent->children;
  for (auto it = siblings.begin(); it != siblings.end(); ++it) {
    if (it->second.get() != node) continue;
    removed_.push_back(std::move(it->second));
    siblings.erase(it);
    return;
  }
}

std::vector<Tree::Written> Tree::Writes() const {
  std::lock_guard hold(lock_);
  return writes_;
}

int Tree::Lookup(Node* base, std::string_view path, bool follow, Node*& out) {
  std::shared_lock hold(shape_);
  int error = 0;
  Node* found = Find(base, path, follow, error);
  if (found == nullptr) return error;
  out = found;
  return 0;
}

Node* Tree::Find(Node* base, std::string_view path, bool follow, int& error) const {
  auto fail = [&error](int errno_value) {
    error = -errno_value;
    return nullptr;
  };
  if (path.size() >= PATH_MAX) return fail(ENAMETOOLONG);
  std::vector<std::string> todo = Split(path);
  std::reverse(todo.begin(), todo.end());
  bool slash_at_end = !path.empty() && path.back() == '/';
  Node* root = const_cast<Node*>(&root_);
  Node* at = path.starts_with('/') || base == nullptr ? root : base;
  int links = 0;
  while (!todo.empty()) {
    if (at->type != Node::Type::Directory) return fail(ENOTDIR);
    std::string name = std::move(todo.back());
    todo.pop_back();
    if (name == ".") continue;
    if (name == "..") {
      at = at->parent;
      continue;
    }
    auto it = at->children.find(name);
    if (it == at->children.end()) return fail(ENOENT);
    Node* next = it->second.get();
    if (next->type == Node::Type::Link && (follow || !todo.empty() || slash_at_end)) {
      if (++links > kMaxLinks) return fail(ELOOP);
      std::vector<std::string> parts = Split(next->target);
      if (next->target.starts_with('/')) at = root;
      todo.insert(todo.end(), parts.rbegin(), parts.rend());
      continue;
    }
    at = next;
  }
  if (slash_at_end && at->type != Node::Type::Directory) return fail(ENOTDIR);
  return at;
}

FilePtr Tree::Open(Node* base, std::string_view path, int flags, int& error) {
  Node* node = nullptr;
  if (path.empty()) {
    error = -ENOENT;
    return nullptr;
  }
  error = Lookup(base, path, (flags & O_NOFOLLOW) == 0, node);
  if (error != 0) {
    // Nothing can be made in these file systems.
    if (error == -ENOENT && (flags & O_CREAT) != 0) error = -EACCES;
    return nullptr;
  }
  bool writes = (flags & O_ACCMODE) != O_RDONLY;
  bool reads = (flags & O_ACCMODE) != O_WRONLY;
  if (node->open_errno != 0) {
    error = -node->open_errno;
  } else if (node->type == Node::Type::Link) {
    error = -ELOOP;
  } else if ((flags & O_DIRECTORY) != 0 && node->type != Node::Type::Directory) {
    error = -ENOTDIR;
  } else if (node->type == Node::Type::Directory && writes) {
    error = -EISDIR;
  } else if (node->type == Node::Type::File &&
             ((writes && (node->mode & 0222) == 0) || (reads && (node->mode & 0444) == 0))) {
    // sysfs looks at the mode even for root.
    error = -EACCES;
  } else if (node->type == Node::Type::Device) {
    return node->open(flags, error);
  } else if (node->type == Node::Type::Directory) {
    std::shared_lock hold(shape_);
    return std::make_shared<DirectoryFile>(*node, flags);
  } else {
    return std::make_shared<TextFile>(*this, *node, flags);
  }
  return nullptr;
}

int Tree::Stat(Node* base, std::string_view path, bool follow, vfm_stat& out) {
  Node* node = nullptr;
  if (int e = Lookup(base, path, follow, node); e != 0) return e;
  out = {};
  out.mode = node->mode;
  out.ino = node->ino;
  out.rdev = node->rdev;
  std::lock_guard hold(lock_);
  if (node->type == Node::Type::Link)
    out.size = node->target.size();
  else if (node->type == Node::Type::File)
    out.size = node->show ? 4096 : node->content.size();
  return 0;
}

int Tree::Access(Node* base, std::string_view path, int mode, bool follow) {
  Node* node = nullptr;
  if (int e = Lookup(base, path, follow, node); e != 0) return e;
  // The caller is root: only a scenario's own errno denies reading and writing.
  if (mode != F_OK && (node->open_errno == EACCES || node->open_errno == EPERM)) return -EACCES;
  return 0;
}

ssize_t Tree::Readlink(Node* base, std::string_view path, char* buf, size_t len) {
  Node* node = nullptr;
  if (int e = Lookup(base, path, false, node); e != 0) return e;
  if (len == 0 || node->type != Node::Type::Link) return -EINVAL;
  size_t n = std::min(len, node->target.size());
  if (!UserCanWrite(buf, n)) return -EFAULT;
  memcpy(buf, node->target.data(), n);
  return static_cast<ssize_t>(n);
}

int Tree::ReadAll(Node& node, std::string& out) {
  if (node.read_errno != 0) return -node.read_errno;
  if (node.show) {
    out.clear();
    return node.show(out);
  }
  std::lock_guard hold(lock_);
  out = node.content;
  return 0;
}

int Tree::WriteAll(Node& node, std::string_view text) {
  std::string path;
  {
    // Before the write: it may remove the node.
    std::shared_lock hold(shape_);
    path = PathOf(node);
  }
  int error = node.write_errno != 0 ? -node.write_errno : node.store ? node.store(text) : 0;
  std::lock_guard hold(lock_);
  if (error == 0 && !node.store) node.content = text;
  writes_.push_back({std::move(path), std::string(text), error});
  return error;
}

}  // namespace vfm::mock
