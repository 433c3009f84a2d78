/* Every fault of the catalogue (faults.def) as a number. */
#ifndef EDIY_ORACLE_MUTANTS_FAULTS_H
#define EDIY_ORACLE_MUTANTS_FAULTS_H

#define FAULT_ENTRY(NAME, op, name, tensors, description) FAULT_##NAME,
enum fault {
  FAULT_NONE,
#include "oracle/mutants/faults.def"
  FAULTS
};
#undef FAULT_ENTRY

#endif
