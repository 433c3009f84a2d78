/* The values that cuDNN 9 gives to the names that cuda/ uses: of the stand-in (cudnn.h), and compared with NVIDIA's header where there is
 * one (values.cu). */
#define CUDNN_STATUS_VALUES(V)                                                                                                             \
  V(CUDNN_STATUS_SUCCESS, 0)                                                                                                               \
  V(CUDNN_STATUS_NOT_INITIALIZED, 1001)                                                                                                    \
  V(CUDNN_STATUS_BAD_PARAM, 2000)                                                                                                          \
  V(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, 2002)                                                                                             \
  V(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, 2003)                                                                                       \
  V(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, 2004)                                                                                            \
  V(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, 2008)                                                                                           \
  V(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, 2010)                                                                                           \
  V(CUDNN_STATUS_NOT_SUPPORTED, 3000)                                                                                                      \
  V(CUDNN_STATUS_EXECUTION_FAILED, 5000)

#define CUDNN_OTHER_VALUES(V)                                                                                                              \
  V(CUDNN_DATA_FLOAT, 0)                                                                                                                   \
  V(CUDNN_DATA_BFLOAT16, 9)                                                                                                                \
  V(CUDNN_CROSS_CORRELATION, 1)                                                                                                            \
  V(CUDNN_POINTWISE_IDENTITY, 21)                                                                                                          \
  V(CUDNN_HEUR_MODE_FALLBACK, 2)                                                                                                           \
  V(CUDNN_HEUR_MODE_A, 3)                                                                                                                  \
  V(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, 0)                                                                                                   \
  V(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, 4)                                                                                              \
  V(CUDNN_NUMERICAL_NOTE_WINOGRAD, 5)                                                                                                      \
  V(CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP, 9)                                                                                               \
  V(CUDNN_NUMERICAL_NOTE_TYPE_COUNT, 10)                                                                                                   \
  V(CUDNN_TYPE_HANDLE, 0)                                                                                                                  \
  V(CUDNN_TYPE_DATA_TYPE, 1)                                                                                                               \
  V(CUDNN_TYPE_BOOLEAN, 2)                                                                                                                 \
  V(CUDNN_TYPE_INT64, 3)                                                                                                                   \
  V(CUDNN_TYPE_FLOAT, 4)                                                                                                                   \
  V(CUDNN_TYPE_VOID_PTR, 6)                                                                                                                \
  V(CUDNN_TYPE_CONVOLUTION_MODE, 7)                                                                                                        \
  V(CUDNN_TYPE_HEUR_MODE, 8)                                                                                                               \
  V(CUDNN_TYPE_NUMERICAL_NOTE, 11)                                                                                                         \
  V(CUDNN_TYPE_POINTWISE_MODE, 14)                                                                                                         \
  V(CUDNN_TYPE_BACKEND_DESCRIPTOR, 15)                                                                                                     \
  V(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, 0)                                                                                                 \
  V(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, 1)                                                                                               \
  V(CUDNN_BACKEND_ENGINE_DESCRIPTOR, 2)                                                                                                    \
  V(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, 3)                                                                                                 \
  V(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, 4)                                                                                                \
  V(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, 5)                                                                                            \
  V(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, 10)                                                                            \
  V(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, 11)                                                                    \
  V(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, 12)                                                                      \
  V(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, 13)                                                                                      \
  V(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, 15)                                                                                           \
  V(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, 16)                                                                                             \
  V(CUDNN_BACKEND_TENSOR_DESCRIPTOR, 17)

/* Attributes: name, value, type of its elements. */
#define CUDNN_ATTRIBUTE_VALUES(V)                                                                                                          \
  V(CUDNN_ATTR_POINTWISE_MODE, 0, CUDNN_TYPE_POINTWISE_MODE)                                                                               \
  V(CUDNN_ATTR_POINTWISE_MATH_PREC, 1, CUDNN_TYPE_DATA_TYPE)                                                                               \
  V(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, 100, CUDNN_TYPE_DATA_TYPE)                                                                           \
  V(CUDNN_ATTR_CONVOLUTION_CONV_MODE, 101, CUDNN_TYPE_CONVOLUTION_MODE)                                                                    \
  V(CUDNN_ATTR_CONVOLUTION_DILATIONS, 102, CUDNN_TYPE_INT64)                                                                               \
  V(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 103, CUDNN_TYPE_INT64)                                                                          \
  V(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 104, CUDNN_TYPE_INT64)                                                                           \
  V(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 105, CUDNN_TYPE_INT64)                                                                            \
  V(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 106, CUDNN_TYPE_INT64)                                                                            \
  V(CUDNN_ATTR_ENGINEHEUR_MODE, 200, CUDNN_TYPE_HEUR_MODE)                                                                                 \
  V(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 201, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                             \
  V(CUDNN_ATTR_ENGINEHEUR_RESULTS, 202, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                                     \
  V(CUDNN_ATTR_ENGINECFG_ENGINE, 300, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                                       \
  V(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, 400, CUDNN_TYPE_HANDLE)                                                                              \
  V(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 401, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                           \
  V(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 402, CUDNN_TYPE_INT64)                                                                       \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 700, CUDNN_TYPE_FLOAT)                                                                 \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 701, CUDNN_TYPE_FLOAT)                                                                  \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, 702, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, 703, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                        \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, 704, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                        \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, 705, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                        \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 706, CUDNN_TYPE_FLOAT)                                                                \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 707, CUDNN_TYPE_FLOAT)                                                                 \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, 708, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                               \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, 709, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                       \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, 710, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                      \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, 711, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                      \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 712, CUDNN_TYPE_FLOAT)                                                              \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 713, CUDNN_TYPE_FLOAT)                                                               \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, 714, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                             \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, 715, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                    \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, 716, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                     \
  V(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, 717, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                    \
  V(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, 750, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                      \
  V(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, 751, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                              \
  V(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 753, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                              \
  V(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, 800, CUDNN_TYPE_HANDLE)                                                                              \
  V(CUDNN_ATTR_OPERATIONGRAPH_OPS, 801, CUDNN_TYPE_BACKEND_DESCRIPTOR)                                                                     \
  V(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 900, CUDNN_TYPE_INT64)                                                                               \
  V(CUDNN_ATTR_TENSOR_DATA_TYPE, 901, CUDNN_TYPE_DATA_TYPE)                                                                                \
  V(CUDNN_ATTR_TENSOR_DIMENSIONS, 902, CUDNN_TYPE_INT64)                                                                                   \
  V(CUDNN_ATTR_TENSOR_STRIDES, 903, CUDNN_TYPE_INT64)                                                                                      \
  V(CUDNN_ATTR_TENSOR_UNIQUE_ID, 906, CUDNN_TYPE_INT64)                                                                                    \
  V(CUDNN_ATTR_TENSOR_IS_VIRTUAL, 907, CUDNN_TYPE_BOOLEAN)                                                                                 \
  V(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 1000, CUDNN_TYPE_INT64)                                                                            \
  V(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, 1001, CUDNN_TYPE_VOID_PTR)                                                                      \
  V(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1003, CUDNN_TYPE_VOID_PTR)                                                                          \
  V(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, 1303, CUDNN_TYPE_NUMERICAL_NOTE)
