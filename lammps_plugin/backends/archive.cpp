// SPDX-License-Identifier: MIT
#include "archive.h"

#include <array>
#include <stdexcept>

namespace tlmd {

// Signatures and sizes of the records of the zip format (PKWARE's APPNOTE, 4.3).
static constexpr uint32_t LOCAL = 0x04034b50, DESCRIPTOR = 0x08074b50, CENTRAL = 0x02014b50, END = 0x06054b50;
static constexpr uint32_t END64 = 0x06064b50, LOCATOR64 = 0x07064b50;
static constexpr size_t END_BYTES = 22, END64_BYTES = 56, LOCATOR64_BYTES = 20;
static constexpr uint16_t HAS_DESCRIPTOR = 8, PADDING = 0x4246, SIZES64 = 1;  // a flag; ids of extra fields

static void expect(bool right, const char *what) {
  if (!right) throw std::runtime_error(what);
}

// Little-endian numbers of a record, one after the other.
struct Reader {
  const std::string &bytes;
  size_t at;
  template <class T> T take() {
    T value = 0;
    expect(at + sizeof(T) <= bytes.size(), "cut short");
    for (size_t b = 0; b < sizeof(T); b++) value |= (T) ((T) (unsigned char) bytes[at + b] << 8 * b);
    at += sizeof(T);
    return value;
  }
  uint16_t two() { return take<uint16_t>(); }
  uint32_t four() { return take<uint32_t>(); }
  uint64_t eight() { return take<uint64_t>(); }
  std::string text(size_t size) {
    expect(size <= bytes.size() && at <= bytes.size() - size, "cut short");
    at += size;
    return bytes.substr(at - size, size);
  }
};

// What both records of an entry say of it.
struct Header {
  uint16_t version, flags, method, time, date;
  uint32_t crc;
  uint64_t packed, size;
  std::string name;
  uint64_t offset;
};

// Numbers that do not fit 32 bits stand in an extra field; padding is made of Z.
static void read_extra(Header &header, const std::string &bytes) {
  Reader in{bytes, 0};
  while (in.at < bytes.size()) {
    const uint16_t id = in.two(), size = in.two();
    const std::string field = in.text(size);
    expect(id == PADDING || id == SIZES64, "an unknown extra field");
    if (id == PADDING) expect(field.find_first_not_of('Z') == std::string::npos, "damaged padding");
    if (id != SIZES64) continue;
    Reader numbers{field, 0};
    for (uint64_t *number : {&header.size, &header.packed, &header.offset})
      if (*number == 0xffffffff && numbers.at < field.size()) *number = numbers.eight();
  }
}

static void read_common(Header &header, Reader &in) {
  header.version = in.two();
  header.flags = in.two();
  header.method = in.two();
  header.time = in.two();
  header.date = in.two();
  header.crc = in.four();
  header.packed = in.four();
  header.size = in.four();
}

static Header central_header(Reader &in, std::string &origin) {
  Header header{};
  expect(in.four() == CENTRAL, "damaged directory");
  std::string made = in.text(2);
  read_common(header, in);
  const uint16_t name = in.two(), extra = in.two(), comment = in.two();
  made += in.text(8);  // disk, attributes: as those of the first entry
  header.offset = in.four();
  header.name = in.text(name);
  read_extra(header, in.text(extra));
  if (origin.empty()) origin = made;
  expect(comment == 0 && made == origin, "damaged directory");
  return header;
}

// Checks the record in front of an entry's content against the directory; where the entry ends.
static size_t check_local(const std::string &file, size_t at, const Header &central) {
  Reader in{file, at};
  Header local{};
  expect(in.four() == LOCAL, "damaged header");
  read_common(local, in);
  const uint16_t name = in.two(), extra = in.two();
  local.name = in.text(name);
  read_extra(local, in.text(extra));
  in.text(central.packed);
  if (local.flags & HAS_DESCRIPTOR) {
    expect(local.crc == 0 && local.packed == 0 && local.size == 0 && in.four() == DESCRIPTOR, "damaged header");
    local.crc = in.four();
    const bool large = central.packed > 0xffffffff || central.size > 0xffffffff;
    local.packed = large ? in.eight() : in.four();
    local.size = large ? in.eight() : in.four();
  }
  expect(local.version == central.version && local.flags == central.flags && local.method == central.method &&
             local.time == central.time && local.date == central.date && local.crc == central.crc &&
             local.packed == central.packed && local.size == central.size && local.name == central.name,
         "two records that differ");
  return in.at;
}

// Number of entries, size and place of the directory; where the records behind it begin.
struct End {
  uint64_t count, size, offset;
  size_t begin;
};

static End read_end(const std::string &file) {
  expect(file.size() >= END_BYTES, "cut short");
  Reader in{file, file.size() - END_BYTES};
  End end{0, 0, 0, in.at};
  expect(in.four() == END && in.four() == 0, "no directory at the end");
  end.count = in.two();
  expect(in.two() == end.count, "damaged end");
  end.size = in.four();
  end.offset = in.four();
  expect(in.two() == 0, "damaged end");
  if (end.begin < END64_BYTES + LOCATOR64_BYTES) return end;
  Reader locator{file, end.begin - LOCATOR64_BYTES};
  if (locator.four() != LOCATOR64) return end;
  const size_t begin = end.begin - LOCATOR64_BYTES - END64_BYTES;
  expect(locator.four() == 0 && locator.eight() == begin && locator.four() == 1, "damaged end");
  Reader large{file, begin};
  expect(large.four() == END64 && large.eight() == END64_BYTES - 12, "damaged end");
  large.text(4);  // versions
  expect(large.eight() == 0, "damaged end");
  const uint64_t count = large.eight();
  expect(large.eight() == count && (count == end.count || end.count == 0xffff), "damaged end");
  const uint64_t size = large.eight(), offset = large.eight();
  expect(size == end.size || end.size == 0xffffffff, "damaged end");
  expect(offset == end.offset || end.offset == 0xffffffff, "damaged end");
  return {count, size, offset, begin};
}

std::vector<Entry> entries_of(const std::string &file) {
  const End end = read_end(file);
  expect(end.offset <= end.begin && end.size == end.begin - end.offset, "damaged end");
  Reader in{file, end.offset};
  std::vector<Entry> entries;
  std::string origin;
  size_t at = 0;  // entries lie one behind the other
  for (uint64_t k = 0; k < end.count; k++) {
    const Header header = central_header(in, origin);
    expect(header.offset == at, "damaged directory");
    at = check_local(file, at, header);
    entries.push_back({header.name, header.crc, header.size});
  }
  expect(at == end.offset && in.at == end.begin, "damaged directory");
  return entries;
}

uint32_t crc32(const void *data, size_t size) {
  static const auto table = [] {
    std::array<uint32_t, 256> rows;
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t value = byte;
      for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0u);
      rows[byte] = value;
    }
    return rows;
  }();
  const auto *bytes = static_cast<const unsigned char *>(data);
  uint32_t crc = 0xffffffffu;
  for (size_t k = 0; k < size; k++) crc = crc >> 8 ^ table[(crc ^ bytes[k]) & 0xff];
  return crc ^ 0xffffffffu;
}

}  // namespace tlmd
