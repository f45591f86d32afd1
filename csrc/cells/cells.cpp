#include <cstring>

#include "list.h"
#include "slopes.h"

namespace pylstm {
namespace {

template <class... C>
constexpr bool all_right(CellList<C...>) {
  return (cells::slopes_are_right<C>() && ...);
}
static_assert(all_right(Cells()));
static_assert(cells::activation_slopes_agree());

}  // namespace

const CellSpec* begin_cells() { return cell_specs.data(); }
const CellSpec* end_cells() { return cell_specs.data() + cell_specs.size(); }

const CellSpec* find_cell(const char* name) {
  for (const CellSpec& cell : cell_specs)
    if (std::strcmp(cell.name.text, name) == 0) return &cell;
  return nullptr;
}

}  // namespace pylstm
