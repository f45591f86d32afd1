#include <cstring>

#include "gru.h"
#include "lstm.h"
#include "rnn.h"

namespace pylstm {

const CellSpec* find_cell(const char* name) {
  static constexpr const CellSpec* cells[] = {&lstm_spec,       &lstm_projected_spec, &gru_after_spec,
                                              &gru_before_spec, &rnn_tanh_spec,       &rnn_relu_spec};
  for (const CellSpec* cell : cells)
    if (std::strcmp(cell->name, name) == 0) return cell;
  return nullptr;
}

}  // namespace pylstm
