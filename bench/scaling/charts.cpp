#include "bench/scaling/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace taper::scaling {
namespace {

constexpr std::array kColours = {"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e",
                                 "#9467bd", "#8c564b", "#17becf", "#7f7f7f"};

std::string escape(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
  return result;
}

std::string begin_svg(int width, int height, const std::string& title) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n"
      "<text x=\"12\" y=\"20\" font-size=\"14\">{2}</text>\n",
      width, height, escape(title));
}

std::string bar(double x, double y, double width, double height, const char* colour, const std::string& tip) {
  return fmt::format(
      "<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" "
      "fill=\"{}\"><title>{}</title></rect>\n",
      x, y, std::max(width, 0.5), height, colour, escape(tip));
}

}  // namespace

std::string draw_curves(const std::string& title, const std::vector<Curve>& curves) {
  constexpr int kWidth = 860, kHeight = 430, kLeft = 50, kRight = 640, kTop = 40, kBottom = 385;
  std::string svg = begin_svg(kWidth, kHeight, title);
  if (curves.empty() || curves[0].gpus.empty()) return svg + "</svg>\n";
  const std::vector<int64_t>& gpus = curves[0].gpus;
  const double low = std::log2(double(gpus.front())),
               high = std::max(low + 1, std::log2(double(gpus.back())));
  const auto x_of = [&](int64_t n) {
    return kLeft + (std::log2(double(n)) - low) / (high - low) * (kRight - kLeft);
  };
  const auto y_of = [&](double efficiency) { return kBottom - efficiency * (kBottom - kTop); };
  for (int percent = 0; percent <= 100; percent += 20)
    svg += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}%</text>\n",
        kLeft, kRight, y_of(percent / 100.0), kLeft - 6, y_of(percent / 100.0) + 4, percent);
  for (const int64_t n : gpus)
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x_of(n),
                       kBottom + 18, n);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">GPUs</text>\n", (kLeft + kRight) / 2,
                     kHeight - 8);
  for (size_t i = 0; i < curves.size(); ++i) {
    const char* const colour = kColours[i % kColours.size()];
    std::string points;
    for (size_t k = 0; k < gpus.size(); ++k)
      points += fmt::format("{:.1f},{:.1f} ", x_of(gpus[k]), y_of(curves[i].efficiency[k]));
    const int y = kTop + 10 + int(i) * 20;
    svg += fmt::format(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n"
        "<line x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{}\" stroke-width=\"3\"/><text x=\"{}\" "
        "y=\"{}\">{}</text>\n",
        points, colour, kRight + 15, kRight + 40, y - 4, y - 4, colour, kRight + 46, y,
        escape(curves[i].label));
  }
  return svg + "</svg>\n";
}

std::string draw_timeline(const std::string& title, const Timeline& timeline) {
  constexpr int kWidth = 860, kLeft = 90, kRight = 850, kRow = 34, kTop = 36, kBar = 24;
  std::string svg = begin_svg(kWidth, kTop + 3 * kRow + 16, title);
  const auto x_of = [&](double time) { return kLeft + time / timeline.seconds * (kRight - kLeft); };
  const auto add = [&](int row, double begin, double end, const char* colour, const std::string& what) {
    svg += bar(x_of(begin), kTop + row * kRow, x_of(end) - x_of(begin), kBar, colour,
               fmt::format("{}: {:.3f} to {:.3f} ms", what, begin * 1e3, end * 1e3));
  };
  const double sent = timeline.buckets.empty() ? 0 : timeline.buckets.back().end;
  add(0, 0, timeline.forward_end, kColours[0], "forward");
  add(0, timeline.forward_end, timeline.backward_end, kColours[3], "backward");
  add(0, std::max(sent, timeline.backward_end), timeline.seconds, kColours[2], "optimizer");
  for (size_t i = 0; i < timeline.buckets.size(); ++i) {
    const BucketTime& one = timeline.buckets[i];
    if (one.begin > one.ready) add(1, one.ready, one.begin, "#bbb", fmt::format("bucket {} waits", i));
    add(2, one.begin, one.end, kColours[i % 2 == 0 ? 4 : 6],
        fmt::format("bucket {}, {} bytes", i, one.bytes));
  }
  constexpr std::array kRows = {"computes", "waits", "network"};
  for (size_t row = 0; row < kRows.size(); ++row)
    svg += fmt::format("<text x=\"12\" y=\"{}\">{}</text>\n", kTop + int(row) * kRow + 16, kRows[row]);
  return svg + "</svg>\n";
}

std::string print_timeline(const Timeline& timeline, int width) {
  const auto column = [&](double time) {
    return std::clamp(int(time / timeline.seconds * width), 0, width - 1);
  };
  const auto fill = [&](std::string& line, double begin, double end, char mark) {
    for (int i = column(begin); i < std::max(column(begin) + 1, column(end)); ++i) line[size_t(i)] = mark;
  };
  std::string computes(static_cast<size_t>(width), ' '), network = computes;
  fill(computes, 0, timeline.forward_end, 'f');
  fill(computes, timeline.forward_end, timeline.backward_end, 'b');
  const double sent = timeline.buckets.empty() ? 0 : timeline.buckets.back().end;
  fill(computes, std::max(sent, timeline.backward_end), timeline.seconds, 'o');
  for (size_t i = 0; i < timeline.buckets.size(); ++i)
    fill(network, timeline.buckets[i].begin, timeline.buckets[i].end, char('0' + i % 10));
  return fmt::format(
      "computes |{}|  f forward, b backward, o optimizer\nnetwork  |{}|  the buckets' last digits\n",
      computes, network);
}

}  // namespace taper::scaling
