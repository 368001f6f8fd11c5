// C++: an array of numbers goes to another process, which sums them up where they are. Run it
// twice with the same name; the first sends, the second sums.
//
//     c++ -o sum sum.cpp $(pkg-config --cflags --libs brigade)
//     ./sum my-numbers & ./sum my-numbers
#include <algorithm>
#include <cstring>
#include <iostream>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "brigade.h"

namespace {

/// What a call comes to, as C++ has it: true, or false at the end.
bool check(int status)
{
    if (status == BRIGADE_OK || status == BRIGADE_END)
        return status == BRIGADE_OK;
    throw std::runtime_error(brigade_last_error()->text);
}

/// Objects that are freed when they go out of sight. An end that goes before the session is
/// over tells its partner so: also when an exception is thrown.
struct Free {
    void operator()(brigade_reader *reader) const { brigade_reader_free(reader); }
    void operator()(brigade_writer *writer) const { brigade_writer_free(writer); }
};
using Reader = std::unique_ptr<brigade_reader, Free>;
using Writer = std::unique_ptr<brigade_writer, Free>;

void send(brigade_reader *reader)
{
    std::vector<double> numbers(1000000);
    std::iota(numbers.begin(), numbers.end(), 0.0);
    for (std::size_t sent = 0; sent < numbers.size();) {
        brigade_empty_block block;
        check(brigade_reader_empty_block(reader, BRIGADE_FOREVER, &block));
        auto count = std::min(block.len / sizeof(double), numbers.size() - sent);
        std::memcpy(block.data, &numbers[sent], count * sizeof(double));
        block.tag = sent;
        check(brigade_reader_send(reader, &block, count * sizeof(double)));
        sent += count;
    }
    check(brigade_reader_finish(reader, BRIGADE_FOREVER, nullptr));
    std::cout << "all numbers are summed up\n";
}

void sum(brigade_writer *writer)
{
    double sum = 0;
    brigade_data_block block;
    while (check(brigade_writer_data_block(writer, BRIGADE_FOREVER, &block))) {
        // Blocks are aligned to 64 bytes at least.
        auto numbers = reinterpret_cast<const double *>(block.data);
        sum = std::accumulate(numbers, numbers + block.len / sizeof(double), sum);
        check(brigade_writer_done(writer, &block));
    }
    check(brigade_writer_finish(writer, nullptr));
    std::cout << "the sum is " << static_cast<long long>(sum) << "\n";
}

} // namespace

int main(int count, char **arguments)
try {
    if (count != 2)
        throw std::runtime_error("sum NAME");
    brigade_reader *reader;
    brigade_writer *writer;
    check(brigade_join(arguments[1], nullptr, &reader, &writer));
    Reader reader_owner(reader);
    Writer writer_owner(writer);
    if (reader)
        send(reader);
    else
        sum(writer);
} catch (const std::exception &error) {
    std::cerr << "sum: " << error.what() << "\n";
    return 1;
}
