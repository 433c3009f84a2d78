/* The operations of a case, called through a backend's table: one pass each. Declared here for backend_case.c alone. */
#ifndef EDIY_ORACLE_BACKEND_OPERATIONS_H
#define EDIY_ORACLE_BACKEND_OPERATIONS_H

#include "oracle/backend_memory.h"

typedef bool backend_operation(struct pass *p);

backend_operation backend_conv, backend_linear, backend_norm, backend_relu, backend_maxpool, backend_avgpool;
backend_operation backend_match, backend_loss, backend_lars, backend_ema;

#endif
