// The control interface: a JSON request {"op": ...} in, a JSON answer out. For tests and for people, not for
// devices: nothing here goes through the log or the faults. docs/mock.md lists the operations.
#include <unistd.h>

#include "mock/errnos.h"
#include "mock/fsm.h"
#include "mock/mock.h"
#include "mock/reader.h"

namespace vfm::mock {

using json::Value;

namespace {

// A request that cannot be done, with the errno that vfio_mock_control gives.
struct ControlError {
  int error;
  std::string why;
};

Device& DeviceOf(Mock& mock, Reader& r) {
  std::string address;
  if (!r.String("device", address)) r.Fail("device", "missing");
  Device* d = mock.FindDevice(address);
  if (d == nullptr) throw ControlError{-ENODEV, "no device " + address};
  return *d;
}

Driver& DriverOf(Mock& mock, Reader& r) {
  Device& d = DeviceOf(mock, r);
  if (d.driver() == nullptr) throw ControlError{-ENODEV, d.address() + " is not bound to vfio"};
  return *d.driver();
}

Value Info(Mock& mock, Reader&) {
  Value v = Value::Object();
  v.Set("name", mock.config.name);
  v.Set("description", mock.config.description);
  v.Set("release", mock.config.kernel.release);
  v.Set("stateDir", mock.state_dir.empty() ? Value() : Value(mock.state_dir));
  return v;
}

Value Log(Mock& mock, Reader&) {
  return mock.log.Dump();
}

Value ClearLog(Mock& mock, Reader&) {
  mock.log.Clear();
  return Value::Object();
}

Value Devices(Mock& mock, Reader&) {
  Value list = Value::Array();
  for (const auto& d : mock.devices) {
    Value v = Value::Object();
    v.Set("address", d->address());
    v.Set("kind", d->config()->kind == Kind::Mtty ? "mtty" : "pci");
    v.Set("openCount", d->open_count());
    if (d->driver() != nullptr) d->driver()->Describe(v);
    list.Push(std::move(v));
  }
  Value v = Value::Object();
  v.Set("devices", std::move(list));
  return v;
}

Value Fds(Mock& mock, Reader&) {
  Value list = Value::Array();
  for (const FdTable::Open& open : mock.fds.List()) {
    Value v = Value::Object();
    v.Set("fd", open.fd);
    v.Set("kind", open.file->kind());
    v.Set("name", open.file->name());
    if (open.file->device() != nullptr) v.Set("device", open.file->device()->address());
    list.Push(std::move(v));
  }
  Value v = Value::Object();
  v.Set("fds", std::move(list));
  return v;
}

Value Faults(Mock& mock, Reader&) {
  Value v = Value::Object();
  v.Set("faults", mock.faults.Dump());
  return v;
}

Value SetFaults(Mock& mock, Reader& r) {
  const Value* list = r.ArrayMember("faults");
  if (list == nullptr) r.Fail("faults", "missing");
  mock.SetFaults(ReadFaults(*list, "/faults"));
  return Value::Object();
}

Value SetKnobs(Mock& mock, Reader& r) {
  Device& device = DeviceOf(mock, r);
  const Value* knobs = r.ObjectMember("knobs");
  if (knobs == nullptr) r.Fail("knobs", "missing");
  DeviceConfig config = *device.config();
  ReadKnobs(*knobs, "/knobs", config);
  device.set_config(std::move(config));
  return Value::Object();
}

Value SetState(Mock& mock, Reader& r) {
  Driver& driver = DriverOf(mock, r);
  const Value* state = r.Any("state");
  if (state == nullptr) r.Fail("state", "missing");
  driver.ForceState(ReadState(*state, "/state"));
  return Value::Object();
}

// The device writes to memory.
Value Dma(Mock& mock, Reader& r) {
  Driver& driver = DriverOf(mock, r);
  uint64_t iova = 0, length = 0;
  if (!r.Uint("iova", iova)) r.Fail("iova", "missing");
  if (!r.Uint("length", length)) r.Fail("length", "missing");
  driver.Dma(iova, length);
  return Value::Object();
}

// The device is to be unbound, and whoever has it is asked to let it go.
Value RequestDevice(Mock& mock, Reader& r) {
  Driver& driver = DriverOf(mock, r);
  Value v = Value::Object();
  v.Set("heard", driver.Request());
  return v;
}

// Another process opens the group, or closes it.
Value HoldGroup(Mock& mock, Reader& r) {
  uint64_t number = 0;
  if (!r.Uint("group", number)) r.Fail("group", "missing");
  bool held = true;
  r.Bool("held", held);
  auto it = mock.groups.find(static_cast<uint32_t>(number));
  if (it == mock.groups.end()) throw ControlError{-ENODEV, "no group " + std::to_string(number)};
  Group& g = *it->second;
  std::lock_guard hold(g.lock);
  if (held && (g.is_open || g.cdev_opens != 0)) throw ControlError{-EBUSY, "the group is in use here"};
  g.held = held;
  return Value::Object();
}

Value Writes(Mock& mock, Reader&) {
  Value list = Value::Array();
  for (const Tree::Written& w : mock.tree.Writes()) {
    Value v = Value::Object();
    v.Set("path", w.path);
    v.Set("text", w.text);
    if (w.error != 0) v.Set("errno", ErrnoName(-w.error));
    list.Push(std::move(v));
  }
  Value v = Value::Object();
  v.Set("writes", std::move(list));
  v.Set("pools", mock.attributes.Pools());
  return v;
}

Value SetAttribute(Mock& mock, Reader& r) {
  std::string path, value;
  if (!r.String("path", path)) r.Fail("path", "missing");
  if (!r.String("value", value)) r.Fail("value", "missing");
  if (int e = mock.attributes.Set(path, value); e != 0) throw ControlError{e, "no attribute " + path};
  return Value::Object();
}

struct Operation {
  const char* name;
  Value (*run)(Mock&, Reader&);
};

constexpr Operation kOperations[] = {
    {"info", Info},
    {"log", Log},
    {"clear-log", ClearLog},
    {"devices", Devices},
    {"fds", Fds},
    {"faults", Faults},
    {"set-faults", SetFaults},
    {"set-knobs", SetKnobs},
    {"set-state", SetState},
    {"dma", Dma},
    {"request-device", RequestDevice},
    {"hold-group", HoldGroup},
    {"writes", Writes},
    {"set-attribute", SetAttribute},
};

Value Dispatch(Mock& mock, std::string_view request) {
  Value document = json::Parse(request);
  Reader r(document, "");
  std::string op;
  if (!r.String("op", op)) r.Fail("op", "missing");
  std::string all;
  for (const Operation& o : kOperations) {
    if (op == o.name) {
      Value answer = o.run(mock, r);
      r.Finish();
      return answer;
    }
    all += (all.empty() ? "" : ", ") + std::string(o.name);
  }
  throw ControlError{-EINVAL, "no operation \"" + op + "\"; there are: " + all};
}

}  // namespace

int Mock::Control(std::string_view request, std::string& answer) {
  int error;
  std::string why;
  try {
    answer = Dispatch(*this, request).Dump();
    return 0;
  } catch (const json::Error& e) {
    error = -EINVAL;
    why = std::string("not JSON: ") + e.what();
  } catch (const ScenarioError& e) {
    error = -EINVAL;
    why = e.what();
  } catch (const ControlError& e) {
    error = e.error;
    why = e.why;
  }
  Value v = Value::Object();
  v.Set("error", why);
  answer = v.Dump();
  return error;
}

}  // namespace vfm::mock
