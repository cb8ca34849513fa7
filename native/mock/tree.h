// The file tree: /dev, /sys and /proc as far as a VFIO tool looks (uAPI §6). Built once from the scenario;
// afterwards only the contents of attributes change.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/kernel.h"
#include "mock/file.h"
#include "mock/scenario.h"

namespace vfm::mock {

struct Node {
  enum class Type { Directory, File, Link, Device };
  Type type = Type::Directory;
  uint64_t ino = 0;
  uint32_t mode = 0;
  uint64_t rdev = 0;
  Node* parent = nullptr;
  std::map<std::string, std::unique_ptr<Node>> children;
  std::string target;   // links
  std::string content;  // files without `show`; guarded by the tree's lock
  // An attribute whose content is made when it is read. Gives 0 or a negated errno.
  std::function<int(std::string& out)> show;
  // A write to an attribute: 0 or a negated errno. Without it a write replaces the content.
  std::function<int(std::string_view text)> store;
  // A device node's open(2); null with a negated errno in `error`.
  std::function<FilePtr(int flags, int& error)> open;
  int open_errno = 0, read_errno = 0, write_errno = 0;
};

class Tree {
 public:
  Tree();

  /* building; paths are absolute, directories on the way are made */
  Node& Directory(const std::string& path);
  Node& File(const std::string& path, std::string content, uint32_t mode = 0444);
  // `target` is an absolute path; the link becomes relative, as in sysfs.
  Node& Link(const std::string& path, const std::string& target);
  Node& CharDevice(const std::string& path, uint64_t rdev, uint32_t mode,
                   std::function<FilePtr(int flags, int& error)> open);
  // An entry of the scenario's `files`. Throws ScenarioError when a directory stands in the way.
  void Override(const FileConfig& f);

  /* system calls; 0 or more, or a negated errno */
  // `base` is the directory that a relative path starts from, null for the root.
  int Lookup(Node* base, std::string_view path, bool follow, Node*& out);
  FilePtr Open(Node* base, std::string_view path, int flags, int& error);
  int Stat(Node* base, std::string_view path, bool follow, vfm_stat& out);
  int Access(Node* base, std::string_view path, int mode, bool follow);
  ssize_t Readlink(Node* base, std::string_view path, char* buf, size_t len);

  int ReadAll(Node& node, std::string& out);
  int WriteAll(Node& node, std::string_view text);

  /* while it is used: entries are made and removed while the result of `Change` is held */
  std::unique_lock<std::shared_mutex> Change() { return std::unique_lock(shape_); }
  // `path` with every link on the way to its last directory resolved: where the entry is, or would be made.
  std::string Resolve(const std::string& path);
  // Takes an entry and what is below it out of the tree; whoever has it open keeps it.
  void Remove(const std::string& path);
  // Every write to an attribute, in order: the text as it came, and a negated errno or 0.
  struct Written {
    std::string path, text;
    int error;
  };
  std::vector<Written> Writes() const;

 private:
  Node& Make(const std::string& path, Node::Type type, uint32_t mode);
  Node* Find(Node* base, std::string_view path, bool follow, int& error) const;
  std::string PathOf(const Node& node) const;

  Node root_;
  uint64_t next_ino_ = 1;
  mutable std::mutex lock_;
  // Guards the shape of the tree: `children`, and what a node is.
  mutable std::shared_mutex shape_;
  std::vector<std::unique_ptr<Node>> removed_;
  std::vector<Written> writes_;
};

// The tree's node of a directory that is open; null for any other file.
Node* DirectoryNode(const vfm::mock::File* file);

}  // namespace vfm::mock
