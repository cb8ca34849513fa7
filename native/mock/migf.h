// The migration data fd (uAPI §2.3, §2.4): a stream without position, alive as long as its session. What the
// bytes are is up to the device's kind.
#pragma once

#include <mutex>
#include <string>

#include "mock/file.h"
#include "mock/scenario.h"
#include "mock/wait.h"

namespace vfm::mock {

class Driver;

class MigFile : public File {
 public:
  MigFile(Driver& driver, int flags, std::string name)
      : File(flags), driver_(driver), name_(std::move(name)) {}

  const char* kind() const override { return "data"; }
  std::string name() const override { return "anon_inode:" + name_; }
  Device* device() const override;
  ssize_t Pread(Call&, void*, size_t, int64_t) override { return -ESPIPE; }
  ssize_t Pwrite(Call&, const void*, size_t, int64_t) override { return -ESPIPE; }

  std::optional<uint64_t> Position() override {
    std::lock_guard hold(lock_);
    return pos_;
  }

  // The session is over: every read and write answers ENODEV from now on, those that wait included.
  void Disable();

 protected:
  // 0; -ENODEV when the session ended meanwhile, -EINTR. `for_ever`: only these two end it.
  int WaitAMoment(uint64_t ns, bool for_ever);

  Driver& driver_;
  std::mutex lock_;  // the file's own mutex: not held while waiting
  bool disabled_ = false;
  uint64_t pos_ = 0;

 private:
  const std::string name_;
  Event ended_;
};

class SaveFile : public MigFile {
 public:
  SaveFile(Driver& driver, std::string name) : MigFile(driver, O_RDONLY, std::move(name)) {}

  ssize_t Read(Call& call, void* buf, size_t len) override;
  long Ioctl(Call& call, unsigned long request, uintptr_t arg) override;
  short Poll() override;

 protected:
  /* all under lock_ */
  // The device may have something new to offer in PRE_COPY; `asked`: by VFIO_MIG_GET_PRECOPY_INFO. True when
  // that is new initial bytes.
  virtual bool Refill(bool /*asked*/) { return false; }
  // Bytes that can be read by now, from the start of the stream.
  virtual uint64_t Filled() const = 0;
  // Nothing will be added: 0 is the end, not a temporary one.
  virtual bool Complete() const = 0;
  virtual void CopyOut(uint64_t pos, uint8_t* out, size_t n) = 0;
  virtual void PrecopyBytes(uint64_t& initial, uint64_t& dirty) const = 0;
};

class LoadFile : public MigFile {
 public:
  LoadFile(Driver& driver, std::string name) : MigFile(driver, O_WRONLY, std::move(name)) {}

  ssize_t Write(Call& call, const void* buf, size_t len) override;

 protected:
  // Under lock_: a refusal that comes even before that of a dead session. 0 or a negated errno.
  virtual int Refuses(size_t) const { return 0; }
  // Under lock_. Takes all of it: `n`, or a negated errno. Moves pos_ as the driver would.
  virtual ssize_t Take(const uint8_t* bytes, size_t n) = 0;
};

}  // namespace vfm::mock
