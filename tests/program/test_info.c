/* ediy info: what it says of a file or folder is what another reader finds in it (od, awk, find). */
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"

/* A run of one step, finished: weights, a checkpoint, a configuration; `info` of each in a file. */
static int run_made(void **state) {
  const char *small = "backbone=small stem=cifar size=16 projector.hidden=16 projector.out=8 batch=8 epochs=1 warmup=0 workers=1";
  if (program_enter(state)) return -1;
  assert_runs("ediy scenes out=s images=8 val=4 classes=2 size=24 && ediy train %s lambda1=0 lambda2=0 data=s/train out=run", small);
  assert_runs("ls run/checkpoint-*.safetensors >name && ediy info run/backbone.safetensors >weights && ediy info $(cat name) >checkpoint");
  return 0;
}

/* The header's length (od) leaves as many bytes as the shapes come to, and the first line says both. */
static void tensors_come_to_the_size_of_the_file(void **state) {
  (void)state;
  static const char *const file[] = {"run/backbone.safetensors weights pt", "$(cat name) checkpoint ediy-checkpoint-1"};
  for (int i = 0; i < 2; i++)
    assert_runs("set -- %s\n"
                "data=$(($(wc -c <$1) - 8 - $(od -An -tu8 -N8 $1)))\n"
                "awk -v data=$data '$2 == \"F32\" || $2 == \"I64\" {\n"
                "    n = 1; for (i = 3; i <= NF; i += 2) if ($i != \"scalar\") n *= $i\n"
                "    tensors++; elements += n; bytes += n * ($2 == \"F32\" ? 4 : 8)}\n"
                "  END {printf \"%%d tensors, %%d elements, %%.1f MB\\n\", tensors, elements, bytes / 1e6; exit data != bytes}' $2 "
                ">counted || exit 1\n"
                "head -n 1 $2 | grep -F \"$1: safetensors, $3, \" | grep \", $(cat counted)$\"",
                file[i]);
}

/* Every type and number of dimensions, and sizes from bytes on: 5 + 2 x 3 x 2 + 3 x 8 + 4. */
static void types_and_shapes_are_those_of_the_header(void **state) {
  (void)state;
  assert_runs("h='{\"bytes\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]},"
              "\"halves\":{\"dtype\":\"BF16\",\"shape\":[2,3,1],\"data_offsets\":[5,17]},"
              "\"words\":{\"dtype\":\"I64\",\"shape\":[3],\"data_offsets\":[17,41]},"
              "\"one\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[41,45]}}'\n"
              "{ printf \"$(printf '\\\\%%o' ${#h})\\\\0\\\\0\\\\0\\\\0\\\\0\\\\0\\\\0\"; printf %%s \"$h\"; head -c 45 /dev/zero; } "
              ">f.safetensors");
  const char *out = assert_runs("ediy info f.safetensors | tr -s ' '")->out;
  assert_non_null(strstr(out, "f.safetensors: safetensors, 4 tensors, 15 elements, 45 B\n"));
  assert_non_null(strstr(out, "\n bytes U8 5\n"));
  assert_non_null(strstr(out, "\n halves BF16 2 x 3 x 1\n"));
  assert_non_null(strstr(out, "\n words I64 3\n"));
  assert_non_null(strstr(out, "\n one F32 scalar\n"));
}

/* A checkpoint holds its configuration as an indented block, a run says the same of its newest. */
static void a_run_says_its_step_and_configuration(void **state) {
  (void)state;
  assert_runs("ediy info run >run.info && sed 's/^/    /' run/config.txt >indented");
  const char *out = assert_runs("cat run.info")->out;
  assert_non_null(strstr(out, "run: training run, at step 1 in run/checkpoint-00000001.safetensors\n"));
  assert_non_null(strstr(out, "\n  finished: run/backbone.safetensors\n  config:\n    "));
  assert_runs("sed -n '/^  config:/,$p' run.info | tail -n +2 | cmp - indented");
  assert_non_null(strstr(assert_runs("cat checkpoint")->out, "\n  config:\n    "));
  assert_runs("cp -r run stopped && rm stopped/backbone.safetensors");
  assert_null(strstr(assert_runs("ediy info stopped")->out, "finished"));
}

/* Width and height stand big-endian in a PNG's first chunk: a picture of two rows of images is not square. */
static void an_image_has_the_size_of_its_header(void **state) {
  (void)state;
  assert_runs("ediy show views data=s/train out=p.png rows=1 && od -An -tu1 -j16 -N8 p.png |\n"
              "awk '{print ((($1 * 256 + $2) * 256 + $3) * 256 + $4) \" \" ((($5 * 256 + $6) * 256 + $7) * 256 + $8)}' >size\n"
              "read -r w h <size; test $w -ne $h && test \"$(ediy info p.png)\" = \"p.png: image, $w x $h pixels\"");
  assert_runs("cp p.png nameless && read -r w h <size && test \"$(ediy info nameless)\" = \"nameless: image, $w x $h pixels\"");
}

static void a_data_set_counts_what_find_counts(void **state) {
  (void)state;
  assert_runs(
      "rm $(find s/train -name '*.png' | sort | head -n 1) && ediy info s/train >data && images=$(find s/train -name '*.png' | wc -l) &&\n"
      "head -n 1 data | grep -x \"s/train: data set, $images images of 2 classes\"");
  assert_runs("i=0; for c in $(ls s/train); do echo \" $i $c $(ls s/train/$c | wc -l)\"; i=$((i + 1)); done >expected\n"
              "tail -n +2 data | tr -s ' ' | cmp - expected");
  assert_runs(
      "mkdir flat && cp $(find s/train -name '*.png' | head -n 1) flat && test \"$(ediy info flat)\" = \"flat: data set, 1 image\"");
  assert_runs("mkdir -p one/class && cp flat/* one/class && ediy info one | head -n 1 | grep -x 'one: data set, 1 image of 1 class'");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tensors_come_to_the_size_of_the_file),  cmocka_unit_test(types_and_shapes_are_those_of_the_header),
      cmocka_unit_test(a_run_says_its_step_and_configuration), cmocka_unit_test(an_image_has_the_size_of_its_header),
      cmocka_unit_test(a_data_set_counts_what_find_counts),
  };
  return cmocka_run_group_tests(tests, run_made, program_leave);
}
