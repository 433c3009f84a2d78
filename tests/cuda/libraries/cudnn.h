/* The words of cuDNN that cuda/ uses, where the tests compile it: a stand-in for NVIDIA's header. Names and values are cuDNN 9's; what the
 * functions do is in cudnn.cpp. It shows that our calls agree with our reading of NVIDIA's documentation, and nothing about cuDNN. */
#ifndef EDIY_TESTS_CUDNN_H
#define EDIY_TESTS_CUDNN_H

#include "cuda/shim.h"
#include "cudnn_values.h"

#define CUDNN_MAJOR 9

#define VALUE(name, value) name = value,
#define ATTRIBUTE(name, value, type) name = value,
typedef enum { CUDNN_STATUS_VALUES(VALUE) } cudnnStatus_t;
enum { CUDNN_OTHER_VALUES(VALUE) };
typedef enum { CUDNN_ATTRIBUTE_VALUES(ATTRIBUTE) } cudnnBackendAttributeName_t;
#undef VALUE
#undef ATTRIBUTE
typedef int cudnnBackendAttributeType_t, cudnnBackendDescriptorType_t, cudnnDataType_t, cudnnConvolutionMode_t, cudnnPointwiseMode_t,
    cudnnBackendHeurMode_t, cudnnBackendNumericalNote_t;
typedef struct cudnnContext *cudnnHandle_t;
typedef void *cudnnBackendDescriptor_t;

extern "C" {
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle);
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream);
const char *cudnnGetErrorString(cudnnStatus_t status);
void cudnnGetLastErrorString(char *message, size_t size);
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor);
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor);
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values);
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t asked, int64_t *count, void *values);
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor);
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack);
}

#endif
