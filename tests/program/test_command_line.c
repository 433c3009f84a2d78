/* The command line: help that works as printed, and bad input that is refused with one line naming it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/program.h"

/* Calls visit with the name of every verb in `ediy help`: lines that begin with two blanks, the name, at least two blanks. */
static int for_each_verb(void (*visit)(const char *verb)) {
  static char list[65536];
  int verbs = 0;
  snprintf(list, sizeof list, "%s", assert_runs("ediy help")->out);
  for (char *line = strtok(list, "\n"); line; line = strtok(NULL, "\n")) {
    char name[64], *end = strstr(line + 1, "  ");
    if (strncmp(line, "  ", 2) != 0 || line[2] == ' ') continue;
    end = strstr(line + 2, "  ");
    if (!end || (size_t)(end - line) >= sizeof name) continue;
    snprintf(name, (size_t)(end - line - 1), "%s", line + 2);
    visit(name);
    verbs++;
  }
  return verbs;
}

static void has_help(const char *verb) {
  const struct outcome *o = assert_runs("ediy %s --help", verb);
  char usage[128];
  snprintf(usage, sizeof usage, "usage: ediy %s", verb);
  assert_non_null(strstr(o->out, usage));
  assert_non_null(strstr(o->out, "\nexample:\n"));
  assert_string_equal(o->err, "");
  assert_runs("ediy help %s", verb);
}

static void every_verb_has_help(void **state) {
  (void)state;
  assert_true(for_each_verb(has_help) >= 6);
  assert_null(strstr(assert_runs("ediy help")->out, "on the CPU")); /* with CUDA=1 it is not the CPU alone */
}

/* The lines after "example:" in a folder of their own, as someone would type them. */
static void example_works(const char *verb) {
  static int number;
  char help[65536], folder[32];
  snprintf(help, sizeof help, "%s", assert_runs("ediy %s --help", verb)->out);
  snprintf(folder, sizeof folder, "example%d", number++);
  assert_runs("mkdir %s", folder);
  char *line = strstr(help, "\nexample:\n");
  assert_non_null(line);
  int commands = 0;
  for (line += strlen("\nexample:\n"); *line; commands++) {
    size_t n = strcspn(line, "\n");
    line[n] = 0;
    assert_runs("cd %s && %s", folder, line);
    line += n + 1;
  }
  assert_true(commands > 0);
}

static void every_example_works_as_printed(void **state) {
  (void)state;
  for_each_verb(example_works);
}

static int keys_seen;

/* Lines of a key in the help of a verb: name, what it is, and in brackets what it takes. What is outside of that is refused; a default is
 * inside. */
static void keys_take_what_help_says(const char *verb) {
  char help[65536], key[64], range[128], words[128];
  snprintf(help, sizeof help, "%s", assert_runs("ediy %s --help", verb)->out);
  char *line = strstr(help, "\nkeys:\n");
  if (!line) return;
  for (line += strlen("\nkeys:\n"); *line != '\n'; keys_seen++) {
    char *end = strchr(line, '\n'), *bracket = end;
    *end = 0;
    while (bracket > line && *bracket != '(') bracket--;
    if (sscanf(line, "  %63[a-z0-9_.] %*c", key) != 1 || bracket == line || end[-1] != ')') fail_msg("%s: \"%s\"", verb, line);
    snprintf(range, sizeof range, "%.*s", (int)strcspn(bracket, ",)") - 1, bracket + 1);
    const char *standard = strstr(bracket, ", default ");
    double low, high;
    if (sscanf(range, "%lf to %lf", &low, &high) == 2) {
      const double value = standard ? strtod(standard + strlen(", default "), NULL) : low;
      assert_true(low > -1000 && low < high && value >= low && value <= high);
      snprintf(words, sizeof words, "%s: '-1000' is not a ", key);
      assert_refused(words, "ediy %s %s=-1000", verb, key);
    } else if (strstr(range, " | ") && !strstr(range, "FILE")) {
      assert_true(standard && strchr(standard, ')') - standard > 10);
      assert_refused(strcmp(range, "yes | no") ? range : "neither yes nor no", "ediy %s %s=anything", verb, key);
      char word[64];
      snprintf(word, sizeof word, "%.*s", (int)strcspn(standard + 10, ")"), standard + 10);
      assert_non_null(strstr(range, word));
    } else {
      assert_true(strcmp(range, "text") == 0);
    }
    line = end + 1;
  }
}

static void help_says_what_keys_take(void **state) {
  (void)state;
  for_each_verb(keys_take_what_help_says);
  assert_true(keys_seen > 100);
  static const char *const said[] = {"  lr                 base learning rate; the peak is lr * batch / 256 (0 to 1e+09, default 0.5)\n",
                                     "  data               folder of images: flat, or one sub-folder a class (text)\n"};
  for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) assert_non_null(strstr(assert_runs("ediy train --help")->out, said[i]));
  /* a configuration has no key that help does not have */
  assert_runs("ediy scenes out=h images=8 val=1 classes=2 size=24 && ediy train preset=sanity lambda1=0 lambda2=0 data=h/train out=h/run "
              "batch=8 stop=1");
  assert_runs(
      "ediy train --help >h/help; while read -r key is value; do grep -q \"^  $key  *[^ ].*)$\" h/help || exit 1; done <h/run/config.txt");
}

/* Typed behind a command, before it is sent. A word without dashes is none: it may be a file's name. */
static void help_is_had_at_any_place(void **state) {
  (void)state;
  static const char *const asked[] = {"train data=x --help", "train lr=3 -h", "eval knn weights=x --help", "info x -h"};
  for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
    assert_non_null(strstr(assert_runs("ediy %s", asked[i])->out, "\nexample:\n"));
  assert_non_null(strstr(assert_runs("oracle case x --help")->out, "\nexample:\n"));
  assert_non_null(strstr(assert_runs("ediy eval --help x")->out, "  eval dense"));
  assert_non_null(strstr(assert_runs("ediy --version x")->out, "ediy "));
  assert_refused("train: 'help' is not of the form key=value", "ediy train data=x help");
  assert_refused("info: takes one file or folder", "ediy info x help");
}

static void version_is_one_line(void **state) {
  (void)state;
  assert_int_equal(program_lines(assert_runs("ediy --version")->out), 1);
}

static void unknown_words_name_the_nearest(void **state) {
  (void)state;
  assert_refused("'scnes'; did you mean 'scenes'", "ediy scnes");
  assert_refused("'trian'; did you mean 'train'", "ediy trian data=x");
  assert_refused("'show veiws'; did you mean 'show views'", "ediy show veiws");
  assert_refused("'qqqqqqqq'", "ediy qqqqqqqq");
  assert_refused("show", "ediy show");
  assert_refused("imges", "ediy scenes out=x imges=3");
  assert_refused("images", "ediy scenes out=x imges=3");
  assert_refused("bacth", "ediy train data=x out=y bacth=3");
  assert_refused("demoo", "ediy train preset=demoo data=x out=y");
  assert_refused("key=value", "ediy scenes x");
  assert_refused("out=", "ediy scenes");
}

static void values_out_of_range_are_named(void **state) {
  (void)state;
  assert_refused("images: '0'", "ediy scenes out=x images=0");
  assert_refused("size: '63.5'", "ediy scenes out=x size=63.5");
  assert_refused("classes: '61'", "ediy scenes out=x classes=61");
  assert_int_not_equal(access("x", F_OK), 0);
}

static void missing_and_damaged_files_are_named(void **state) {
  (void)state;
  assert_refused("nowhere", "ediy info nowhere");
  assert_refused("nowhere", "ediy show curves run=nowhere");
  assert_refused("nowhere", "ediy show views data=nowhere");
  assert_refused("nowhere", "ediy train lambda1=0 lambda2=0 data=nowhere out=y");
  assert_refused("nowhere", "ediy show matches teacher=nowhere data=.");
  assert_runs("mkdir empty && echo text >text.png && echo text >text.safetensors");
  assert_refused("empty", "ediy show views data=empty");
  assert_refused("empty", "ediy train lambda1=0 lambda2=0 data=empty out=y");
  assert_refused("text.safetensors", "ediy info text.safetensors");
  assert_runs("ediy scenes out=s images=2 val=1 classes=2 && head -c 300 s/train/00-striped-disc/000000.png >cut.png");
  assert_refused("cut.png", "ediy info cut.png");
  assert_runs("mkdir bad && cp cut.png bad");
  assert_refused("bad/cut.png", "ediy show views data=bad");
  assert_int_not_equal(access("y", F_OK), 0);
}

static void what_could_have_been_meant_is_named(void **state) {
  (void)state;
  assert_runs("mkdir -p made none && ediy export weights=random backbone=small size=32 out=made/b.safetensors && cp made/b.safetensors "
              "made/c.safetensors");
  assert_refused("made: is a folder; give a file in it, such as made/b.safetensors", "ediy export weights=made out=w.safetensors");
  const struct outcome *o = program_run("ediy train preset=demo teacher=made data=s/train batch=2 out=y");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "teacher: made: is a folder; give a file in it, such as made/b.safetensors\n"));
  assert_refused("none: is a folder; a safetensors file is expected", "ediy embed weights=none data=s/train");
  assert_refused("none: no log.jsonl in it; give the folder of a training run", "ediy show curves run=none");
  o = program_run("ediy eval dense weights=made/b.safetensors train=none val=none test=none");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(
      o->err, "none/images: No such file or directory; images are in FOLDER/images, label maps of the same names in FOLDER/labels\n"));
  assert_refused("weights=random is no file to take over; ediy export", "ediy import weights=random backbone=small out=w.safetensors");
}

/* Line breaks and what speaks to a terminal, in files and names of others. */
static void info_prints_text(void **state) {
  (void)state;
  assert_runs("mkdir -p 'odd/one\ntwo' && ediy scenes out=u images=2 val=1 classes=2 && cp u/train/*/*.png 'odd/one\ntwo'");
  assert_non_null(strstr(assert_runs("ediy info odd")->out, "  0  one?two                                  2\n"));
  assert_runs("h='{\"__metadata__\":{\"format\":\"f\\u001b[1m\",\"k\\u001b[1m\":\"v\\u001b[1m\",\"m\":\"a\\u001b[1m\\nb\"}}'\n"
              "printf \"$(printf '\\\\%%o' ${#h})\\\\0\\\\0\\\\0\\\\0\\\\0\\\\0\\\\0\" >foreign.safetensors && printf %%s \"$h\" "
              ">>foreign.safetensors");
  const struct outcome *o = assert_runs("ediy info foreign.safetensors");
  assert_null(strchr(o->out, 033));
  assert_non_null(strstr(o->out, "foreign.safetensors: safetensors, f?[1m, 0 tensors"));
  assert_non_null(strstr(o->out, "  k?[1m: v?[1m\n"));
  assert_non_null(strstr(o->out, "  m:\n    a?[1m\n    b\n"));
}

static void outputs_that_cannot_be_written_are_named(void **state) {
  (void)state;
  assert_runs("ediy scenes out=t images=2 val=1 classes=2 && touch file");
  assert_refused("file/pictures", "ediy show views data=t/train out=file/pictures.png");
  assert_refused("file/t", "ediy scenes out=file/t");
  assert_refused("standard output", "ediy help >/dev/full");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_verb_has_help),
                                     cmocka_unit_test(every_example_works_as_printed),
                                     cmocka_unit_test(help_says_what_keys_take),
                                     cmocka_unit_test(help_is_had_at_any_place),
                                     cmocka_unit_test(version_is_one_line),
                                     cmocka_unit_test(unknown_words_name_the_nearest),
                                     cmocka_unit_test(values_out_of_range_are_named),
                                     cmocka_unit_test(missing_and_damaged_files_are_named),
                                     cmocka_unit_test(what_could_have_been_meant_is_named),
                                     cmocka_unit_test(info_prints_text),
                                     cmocka_unit_test(outputs_that_cannot_be_written_are_named)};
  return cmocka_run_group_tests_name("command line", tests, program_enter, program_leave);
}
